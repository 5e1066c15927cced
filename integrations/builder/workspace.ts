import { randomUUID } from 'node:crypto'
import { chown, mkdir, readdir, readlink, rm, symlink, unlink, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { getCACertificates } from 'node:tls'
import { secretsOfEnv } from '../../plugins/lib/env-secrets.ts'
import { nullIf } from '../../plugins/lib/errno.ts'
import type { Account } from '../../plugins/lib/owned-processes.ts'
import { identify, isRunning, type ProcessIdentity } from '../../plugins/lib/processes.ts'
import { emptyGraveyard, removeTree } from '../../plugins/lib/remove-tree.ts'
import { drawAccount } from './account.ts'
import { type BuildContext, BuildError, type BuildRequest, isArchive } from './port.ts'
import { checkReach, type Limits, openSandbox, processesOfBuild, type Sandbox } from './sandbox.ts'
import { chownTree } from './tree.ts'

/** Stored beside a build's directory: the process that created it, and what a cleanup needs if that process dies. */
interface Lock {
  readonly owner: ProcessIdentity
  readonly account: Account | null
}

const buildsOf = (dataDir: string) => join(dataDir, 'builds')

/** On the same file system as builds and images, and closed to other users. */
export const graveyardOf = (dataDir: string) => join(dataDir, 'graveyard')

/**
 * Gives a build its own directory, user and limits, and removes all of them however it ends.
 *
 * @param dataDir must be traversable by other users when this process is root, since builds then run as other users
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
  const account = await drawAccount(await usersOfBuilds(dataDir))
  const directory = await makeDirectory(dataDir, id, account)
  const sandbox = openSandbox({
    id,
    directory,
    account,
    limits,
    signal: context.signal,
    say: text => context.say(text),
    note: line => context.note(line)
  })
  try {
    await checkReach(sandbox)
    return await work(sandbox)
  } finally {
    sandbox.close()
    await removeTree(directory, graveyardOf(dataDir))
    await unlink(lockOf(directory))
  }
}

/**
 * The CA certificates for build programs: Node's, the machine's, and those of NODE_EXTRA_CA_CERTS. They are copied
 * because the build's user may not be able to read the originals.
 */
export async function certificatesFor({ directory }: Sandbox): Promise<string> {
  const path = join(directory, 'certificates.pem')
  const trusted = new Set((['bundled', 'system', 'extra'] as const).flatMap(source => getCACertificates(source)))
  await writeFile(path, [...trusted].join('\n'), { mode: 0o644 })
  return path
}

/** A directory in the workspace owned by the build's user. */
export async function ownDirectory({ directory, account }: Sandbox, name: string): Promise<string> {
  const path = join(directory, name)
  await mkdir(path, { recursive: true, mode: 0o700 })
  if (account !== null) await chownTree(path, account)
  return path
}

/** Removes the remaining processes and directories of builds whose process is gone. */
export async function removeLeftovers(dataDir: string): Promise<void> {
  for (const directory of await directoriesOfBuilds(dataDir)) {
    const lock = await readLock(directory)
    if (lock !== null && isRunning(lock.owner)) continue
    await processesOfBuild(basename(directory), lock?.account ?? null).end(0)
    await removeTree(directory, graveyardOf(dataDir))
    await rm(lockOf(directory), { force: true })
  }
  await emptyGraveyard(graveyardOf(dataDir))
}

/** Includes builds that have only a lock. */
async function directoriesOfBuilds(dataDir: string): Promise<string[]> {
  const names = (await readdir(buildsOf(dataDir)).catch(nullIf('ENOENT'))) ?? []
  return [...new Set(names.map(name => join(buildsOf(dataDir), name.replace(/\.lock$/, ''))))]
}

/** Includes dead builds, whose processes are ended by these uids. */
async function usersOfBuilds(dataDir: string): Promise<number[]> {
  const locks = await Promise.all((await directoriesOfBuilds(dataDir)).map(readLock))
  return locks.flatMap(lock => lock?.account?.uid ?? [])
}

/** Writes the lock first, since another process may be removing leftovers at the same time. */
async function makeDirectory(dataDir: string, id: string, account: Account | null): Promise<string> {
  const directory = join(buildsOf(dataDir), id)
  await mkdir(buildsOf(dataDir), { recursive: true, mode: 0o711 })
  await writeLock(directory, { owner: identify(process.pid)!, account })
  await mkdir(directory, { mode: account === null ? 0o700 : 0o710 })
  if (account !== null) await chown(directory, 0, account.gid)
  return directory
}

const lockOf = (directory: string) => `${directory}.lock`

/** Stored as the target of a symbolic link, which is created atomically. */
function writeLock(directory: string, lock: Lock): Promise<void> {
  return symlink(JSON.stringify(lock), lockOf(directory))
}

async function readLock(directory: string): Promise<Lock | null> {
  const text = await readlink(lockOf(directory)).catch(nullIf('ENOENT'))
  return text === null ? null : JSON.parse(text)
}

function checkSecrets(secrets: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(secrets)) {
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name))
      throw new BuildError(`${JSON.stringify(name)} is not a valid env var name.`)
    if (value.includes('\0'))
      throw new BuildError(`The value of ${name} contains a NUL character, which env vars cannot have.`)
  }
}

/** Values to keep out of the log: the secrets, and the credentials within a header. */
function secretsOf({ source, secrets }: BuildRequest): string[] {
  const { authorization = '' } = isArchive(source) ? {} : source
  const [scheme = '', credentials = ''] = authorization.split(' ')
  const password = /^basic$/i.test(scheme)
    ? Buffer.from(credentials, 'base64')
        .toString('utf8')
        .replace(/^[^:]*:/, '')
    : ''
  return [authorization, credentials, password, ...secretsOfEnv(secrets)].filter(secret => secret !== '')
}
