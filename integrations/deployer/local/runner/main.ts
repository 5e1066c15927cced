/** The runner: keeps the apps of this machine running and reachable, independently of Rhone. */
import { randomUUID } from 'node:crypto'
import { rm, stat, writeFile } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { isDescriptorShortage, nullIf } from '../../../../plugins/lib/errno.ts'
import { acquireLock } from '../../../../plugins/lib/exclusive-lock.ts'
import { layoutOf } from '../layout.ts'
import type { RunnerSettings } from '../protocol.ts'
import { Api } from './api.ts'
import { Fleet } from './fleet.ts'
import { AppProxy } from './proxy.ts'
import { endPredecessor, portsToTry, recordPort, recordProcesses } from './records.ts'
import { prepareSocket, removeSocket } from './socket.ts'

/** Milliseconds between checks whether this process is still needed. */
const PULSE = 250

const settings: RunnerSettings = JSON.parse(process.argv[2]!)
const layout = layoutOf(settings.dataDir)
const lock = await acquireLock(layout.lock).catch(nullIf('ENOENT'))
// Without the lock, another runner was faster, and the client will find that one.
if (lock !== null) {
  await run()
  lock.release()
}

async function run(): Promise<void> {
  const directory = await identityOf(layout.root)
  // For people only; nothing reads it.
  await writeFile(layout.pid, String(process.pid)).catch(console.error)
  await endPredecessor(layout)

  const stopping = new AbortController()
  const stop = () => stopping.abort()
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, stop)
  process.on('SIGHUP', () => {})
  for (const event of ['uncaughtException', 'unhandledRejection'] as const) process.on(event, endUnlessShort)

  const fleet = new Fleet(layout, leaders => recordProcesses(layout, leaders))
  const proxy = new AppProxy(slug => fleet.bySlug(slug))
  recordPort(layout, { configured: settings.port, port: await proxy.listen(portsToTry(layout, settings.port)) })
  const api = new Api(fleet, { pid: process.pid, id: randomUUID() }, stop)
  const socket = await prepareSocket(layout)
  await api.listen(socket)
  say('is ready')

  const isVanished = async () => {
    try {
      return (await identityOf(layout.root)) !== directory || (await isAdrift())
    } catch (error) {
      if (isDescriptorShortage(error)) return false // unknown: checked again at the next pulse
      throw error
    }
  }
  const isIdle = () => fleet.isEmpty && api.idle > settings.idle
  while (!stopping.signal.aborted && !(await isVanished()) && !isIdle())
    await delay(PULSE, undefined, { signal: stopping.signal }).catch(nullIf('ABORT_ERR'))

  // Closes at once: new requests are for the next runner.
  const answered = api.close()
  // If the directory was deleted, nothing of it should keep running.
  await fleet.close((await isVanished()) ? 0 : undefined)
  await answered
  await removeSocket(layout, socket)
  await proxy.close()
  if (await isAdrift()) await rm(layout.dataDir, { recursive: true, force: true })
  say('has ended')
}

async function isAdrift(): Promise<boolean> {
  return settings.anchor !== undefined && (await identityOf(settings.anchor)) === null
}

/** Distinguishes a directory from a later one with the same name; null when there is none. */
async function identityOf(path: string): Promise<string | null> {
  const found = await stat(path).catch(nullIf('ENOENT', 'ENOTDIR'))
  return found && `${found.ino} ${found.birthtimeMs}`
}

/** A shortage of descriptors is temporary, and fails only the operation that needed one; the apps keep running. */
function endUnlessShort(error: unknown): void {
  if (!isDescriptorShortage(error)) throw error
  console.error(error)
}

function say(what: string): void {
  console.log(`${new Date().toISOString()} the runner (pid ${process.pid}) ${what}`)
}
