import type { StdioOptions } from 'node:child_process'
import { open, readFile, realpath, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { nullIf } from '../../plugins/lib/errno.ts'
import {
  commandLine,
  identify,
  isRunning,
  type ProcessIdentity,
  pidIsTaken,
  signalProcess,
  waitForExit
} from '../../plugins/lib/processes.ts'
import { ensureArchiveRole } from './archive.ts'
import { type Cluster, postmasterCommand } from './cluster.ts'
import { PORT, serverVersion } from './connection.ts'
import type { Layout } from './data-directory.ts'
import { EmbeddedPostgresError } from './errors.ts'
import { sizeOf, tailLog } from './log-file.ts'

const READINESS_INTERVAL_MS = 15
const SLOW_START_MS = 10_000
const START_RETRY_MS = 300

/**
 * What PostgreSQL reports while a killed predecessor is still exiting: a busy backend notices that its postmaster died
 * only after its statement, or a postmaster has just appeared. The condition is temporary, so we wait for it.
 */
const PREDECESSOR_IN_THE_WAY = /pre-existing shared memory block|lock file ".*" already exists/
const PREDECESSOR_GRACE_MS = 10_000

/**
 * From gentle to forceful, each with its own timeout. After the last one, the next start has to recover from a crash.
 */
const STOP_SIGNALS: readonly [NodeJS.Signals, timeoutMs: number][] = [
  ['SIGINT', 10_000],
  ['SIGQUIT', 5_000],
  ['SIGKILL', 5_000]
]

/**
 * Takes over the PostgreSQL that a killed server left running, or starts a new one; resolves when it answers queries.
 */
export async function adoptOrStart(cluster: Cluster, signal: AbortSignal): Promise<ProcessIdentity> {
  const deadline = performance.now() + PREDECESSOR_GRACE_MS
  for (;;) {
    const adopted = await adopt(cluster)
    if (adopted) return adopted
    try {
      return await start(cluster, signal)
    } catch (error) {
      const inTheWay = error instanceof EmbeddedPostgresError && PREDECESSOR_IN_THE_WAY.test(error.message)
      if (!inTheWay || signal.aborted || performance.now() > deadline) throw error
      await sleep(START_RETRY_MS, undefined, { signal })
    }
  }
}

async function adopt(cluster: Cluster): Promise<ProcessIdentity | null> {
  const { layout, launcher, log } = cluster
  const pid = await readPid(layout)
  const orphan = pid && (await identifyOwn(layout, pid))
  if (orphan) {
    if (await isHealthy(cluster, orphan)) {
      log.info(`adopted the running embedded PostgreSQL ${launcher.version} (pid ${pid})`)
      return orphan
    }
    log.warn(`stopping the PostgreSQL that was left running in ${layout.root} (pid ${pid})`)
    await stopPostmaster(orphan)
  } else if (pid) {
    await refuseUnseenServer(cluster)
  }
  await removeStaleLocks(cluster, pid)
  return null
}

export async function stopPostmaster(postmaster: ProcessIdentity): Promise<void> {
  for (const [name, timeoutMs] of STOP_SIGNALS) {
    signalProcess(postmaster, name)
    if (await waitForExit(postmaster, timeoutMs)) return
  }
  throw new EmbeddedPostgresError(`PostgreSQL (pid ${postmaster.pid}) does not end, even after SIGKILL.`)
}

async function start(cluster: Cluster, signal: AbortSignal): Promise<ProcessIdentity> {
  const { layout, launcher, log } = cluster
  if (cluster.archive !== null) await ensureArchiveRole(cluster, signal)
  const startedAt = performance.now()
  const logStart = await sizeOf(layout.log)
  const { pid, ended } = await spawnPostmaster(cluster)
  const postmaster = pid === undefined ? null : identify(pid)
  let nextNotice = startedAt + SLOW_START_MS
  while (postmaster && isRunning(postmaster)) {
    if (signal.aborted) {
      await stopPostmaster(postmaster)
      signal.throwIfAborted()
    }
    if (await serverVersion(cluster.url)) {
      const elapsed = Math.round(performance.now() - startedAt)
      log.info(
        `started the embedded PostgreSQL ${launcher.version} ${launcher.description} (pid ${pid}, ${elapsed} ms)`
      )
      return postmaster
    }
    if (performance.now() > nextNotice) {
      log.warn(`PostgreSQL is still starting, probably recovering from a crash; see ${layout.log}`)
      nextNotice += SLOW_START_MS
    }
    await sleep(READINESS_INTERVAL_MS)
  }
  const how = await ended
  throw new EmbeddedPostgresError(
    `The embedded PostgreSQL in ${layout.root} did not start (${how}); the end of ${layout.log}:\n${await tailLog(layout.log, logStart)}`
  )
}

async function spawnPostmaster(cluster: Cluster): Promise<{ pid: number | undefined; ended: Promise<string> }> {
  const logFile = await open(cluster.layout.log, 'a', 0o600)
  try {
    const stdio: StdioOptions = ['ignore', logFile.fd, logFile.fd]
    const child = cluster.launcher.spawn(postmasterCommand(cluster), { stdio })
    child.unref()
    const ended = new Promise<string>(resolve => {
      child.once('error', error => resolve(error.message))
      child.once('exit', (code, signal) => resolve(signal ?? `exit code ${code}`))
    })
    return { pid: child.pid, ended }
  } finally {
    await logFile.close()
  }
}

async function isHealthy(cluster: Cluster, postmaster: ProcessIdentity): Promise<boolean> {
  const sameSettings = commandLine(postmaster.pid) === postmasterCommand(cluster).join(' ')
  return sameSettings && (await serverVersion(cluster.url)) === cluster.launcher.version
}

async function readPid({ data }: Layout): Promise<number | null> {
  const content = await readFile(join(data, 'postmaster.pid'), 'utf8').catch(nullIf('ENOENT'))
  return content === null ? null : Number.parseInt(content, 10) || null
}

/**
 * Whether the process in our postmaster.pid is our postmaster, rather than a later process with the same pid. A
 * postmaster that names another directory is still ours if that directory does not know it: ours has been moved.
 */
async function identifyOwn(layout: Layout, pid: number): Promise<ProcessIdentity | null> {
  const postmaster = identify(pid)
  const directory = /(?:^|\/)postgres -D (.+?)(?: -c |$)/.exec(commandLine(pid))?.[1]
  if (!postmaster || !directory) return null
  if ((await realpath(directory).catch(nullIf('ENOENT'))) === (await realpath(layout.data))) return postmaster
  const isOfThatDirectory = (await readPid({ ...layout, data: directory })) === pid
  return isOfThatDirectory ? null : postmaster
}

/**
 * Two containers may share the directory without seeing each other's processes; PostgreSQL's own check fails there too.
 * But a socket in a shared directory answers across that boundary.
 */
async function refuseUnseenServer({ layout, url }: Cluster): Promise<void> {
  if ((await serverVersion(url)) === null) return
  throw new EmbeddedPostgresError(
    `${layout.root} is in use by a PostgreSQL outside this machine, probably in another container: stop that one, or set DATA_DIR to another directory.`
  )
}

/**
 * PostgreSQL would take any process with the recorded pid for a postmaster, even an unrelated process or a zombie, and
 * refuse to start. It still finds the shared memory of a predecessor whose backends live on, because that memory
 * carries the data directory's number.
 */
async function removeStaleLocks({ layout, socketDirectory }: Cluster, pid: number | null): Promise<void> {
  await rm(join(socketDirectory, `.s.PGSQL.${PORT}.lock`), { force: true })
  if (pid && pidIsTaken(pid)) await rm(join(layout.data, 'postmaster.pid'), { force: true })
}
