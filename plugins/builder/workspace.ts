import { randomUUID } from 'node:crypto'
import { chown, mkdir, readdir, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Account, drawAccount } from './account.ts'
import { BuildError, type BuildContext, type BuildRequest } from './port.ts'
import { endCrew, startOf } from './processes.ts'
import { checkReach, type Limits, openSandbox, type Sandbox } from './sandbox.ts'
import { giveTo, readSmallFile, removeTree } from './tree.ts'

/** In the directory of a build: the process that has made it, and all it takes to clean up after that has died. */
const LOCK = 'lock.json'

interface Lock {
  readonly pid: number
  readonly start: string | null
  readonly account: Account | null
}

const buildsOf = (dataDir: string) => join(dataDir, 'builds')

/**
 * Gives a build a directory, a user and limits of its own, and takes all of them away again, however it ends.
 *
 * @param dataDir where others may pass through when this process is root, since builds run as others then
 */
export async function inWorkspace<T>(
  dataDir: string,
  request: BuildRequest,
  context: BuildContext,
  limits: Limits,
  work: (sandbox: Sandbox) => Promise<T>
): Promise<T> {
  checkSecrets(request.secrets)
  for (const secret of secretsOf(request)) context.hide(secret)
  const id = randomUUID()
  const account = await drawAccount()
  const directory = await makeDirectory(dataDir, id, account)
  const { signal, say } = context
  const sandbox = openSandbox({ id, directory, account, limits, signal, say: text => say(text) })
  try {
    await checkReach(sandbox)
    return await work(sandbox)
  } finally {
    sandbox.close()
    await removeTree(directory)
  }
}

/** A directory of the workspace that the build's user has to itself. */
export async function ownDirectory({ directory, account }: Sandbox, name: string): Promise<string> {
  const path = join(directory, name)
  await mkdir(path, { recursive: true, mode: 0o700 })
  if (account !== null) await giveTo(path, account)
  return path
}

/** Removes what builds have left whose process is gone: what still runs of them, and their directories. */
export async function removeLeftovers(dataDir: string): Promise<void> {
  for (const id of await readdir(buildsOf(dataDir)).catch(() => [])) {
    const directory = join(buildsOf(dataDir), id)
    const lock = await readLock(directory)
    if (lock !== null && startOf(lock.pid) === lock.start) continue
    await endCrew({ id, account: lock?.account ?? null, groups: [] }, 0)
    await removeTree(directory)
  }
}

/** Takes a directory out of its place at once, and then away. */
export async function discard(dataDir: string, directory: string): Promise<void> {
  const grave = join(buildsOf(dataDir), randomUUID())
  await mkdir(buildsOf(dataDir), { recursive: true, mode: 0o711 })
  await rename(directory, grave)
  await removeTree(grave)
}

async function makeDirectory(dataDir: string, id: string, account: Account | null): Promise<string> {
  const directory = join(buildsOf(dataDir), id)
  await mkdir(buildsOf(dataDir), { recursive: true, mode: 0o711 })
  // Whole with its lock, or not there: who removes leftovers may come by at any time.
  const making = join(dataDir, `.build-${id}`)
  await mkdir(making, { mode: account === null ? 0o700 : 0o710 })
  const lock: Lock = { pid: process.pid, start: startOf(process.pid), account }
  await writeFile(join(making, LOCK), JSON.stringify(lock), { mode: 0o600 })
  if (account !== null) await chown(making, 0, account.gid)
  await rename(making, directory)
  return directory
}

async function readLock(directory: string): Promise<Lock | null> {
  try {
    return JSON.parse((await readSmallFile(directory, LOCK)) ?? 'null')
  } catch {
    // Half of it: its process has died writing it.
    return null
  }
}

function checkSecrets(secrets: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(secrets)) {
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) throw new BuildError(`${JSON.stringify(name)} is no name of an env var.`)
    if (value.includes('\0')) throw new BuildError(`The value of ${name} has a NUL character, which no program can be given.`)
  }
}

function secretsOf({ source, secrets }: BuildRequest): string[] {
  const { authorization } = source
  const credentials = authorization?.split(' ').at(-1)
  const decoded = credentials && Buffer.from(credentials, 'base64').toString('utf8').split(':')
  const sent = /^basic /i.test(authorization ?? '') ? [...(decoded ?? [])].slice(1) : []
  return [authorization, credentials, ...sent, ...Object.values(secrets)].filter(secret => secret !== undefined && secret !== '') as string[]
}
