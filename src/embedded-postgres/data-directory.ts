import { randomBytes } from 'node:crypto'
import { lchown, mkdir, open, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { nullIf } from '../../plugins/lib/errno.ts'
import type { PostgresBinaries } from './binaries.ts'
import { EmbeddedPostgresError } from './errors.ts'
import type { Launcher } from './privileges.ts'
import { runProgram } from './programs.ts'

/** The only role that may log in, and the database it owns. Not a superuser: SQL must not reach files or programs. */
export const ROLE = 'rhone'
export const DATABASE = 'rhone'
/** The role for base backups over the replication protocol; it can read no table. */
export const ARCHIVE_ROLE = 'rhone_archive'

/** The layout of the directory that a server owns. */
export interface Layout {
  readonly root: string
  /** PostgreSQL's own data directory. Created under another name and renamed, so it is either complete or absent. */
  readonly data: string
  readonly password: string
  readonly log: string
  /** The socket's directory, or a symbolic link to it when this path is too long for a socket. */
  readonly socket: string
  /** Log segments that PostgreSQL archives, and the archiver's own files. */
  readonly archive: string
  /** The password of the role for base backups; absent until archiving is first switched on. */
  readonly archivePassword: string
}

export function layoutOf(dataDir: string): Layout {
  const root = resolve(dataDir)
  return {
    root,
    data: join(root, 'data'),
    password: join(root, 'password'),
    log: join(root, 'postgres.log'),
    socket: join(root, 'socket'),
    archive: join(root, 'archive'),
    archivePassword: join(root, 'archive-password')
  }
}

const UNFINISHED = 'data.unfinished-'

export interface ClusterOptions {
  readonly layout: Layout
  readonly binaries: PostgresBinaries
  readonly launcher: Launcher
  readonly durable: boolean
  readonly signal: AbortSignal
}

/** Ensures a data directory that `launcher` can use, creating it if needed, and returns the role's password. */
export async function openCluster(options: ClusterOptions): Promise<string> {
  const { layout, launcher } = options
  const version = await readFile(join(layout.data, 'PG_VERSION'), 'utf8').catch(nullIf('ENOENT'))
  if (version === null) return createCluster(options)
  refuseOtherMajor(layout, version.trim(), launcher.version)
  const password = await readPassword(layout)
  if (password === null) {
    throw new EmbeddedPostgresError(
      `The database in ${layout.data} exists, but its password file ${layout.password} is missing: restore that from a backup.`
    )
  }
  await chownTree(launcher, layout.data)
  return password
}

export async function readPassword(layout: Layout): Promise<string | null> {
  return readFile(layout.password, 'utf8').catch(nullIf('ENOENT'))
}

function refuseOtherMajor({ data }: Layout, found: string, version: string): void {
  const [major] = version.split('.')
  if (found === major) return
  throw new EmbeddedPostgresError(
    `${data} was created by PostgreSQL ${found}, but this is PostgreSQL ${major}: restore a backup into an empty DATA_DIR, or use the release with PostgreSQL ${found}.`
  )
}

async function createCluster(options: ClusterOptions): Promise<string> {
  const { layout } = options
  await removeUnfinished(layout)
  const leftover = await readdir(layout.data).catch(nullIf('ENOENT'))
  if (leftover?.length) {
    throw new EmbeddedPostgresError(`${layout.data} contains something other than a database: move it away.`)
  }
  const password = await createPassword(layout)
  // Always a new name: an initdb that outlived its killed server may still write to the old one.
  const unfinished = join(layout.root, `${UNFINISHED}${randomBytes(6).toString('hex')}`)
  try {
    await initialize(options, unfinished, password)
    await rename(unfinished, layout.data)
    await syncDirectory(layout.root)
  } catch (error) {
    await removeUnfinished(layout)
    throw error
  }
  return password
}

async function removeUnfinished({ root }: Layout): Promise<void> {
  for (const name of await readdir(root)) {
    if (name.startsWith(UNFINISHED)) await rm(join(root, name), { recursive: true, force: true, maxRetries: 5 })
  }
}

async function createPassword(layout: Layout): Promise<string> {
  const password = newPassword()
  await writeFile(layout.password, password, { mode: 0o600, flush: true })
  return password
}

async function initialize(options: ClusterOptions, directory: string, password: string): Promise<void> {
  const { binaries, launcher, durable, signal } = options
  await mkdir(directory, { mode: 0o700 })
  await chownTree(launcher, directory)
  const run = async (command: string[], input?: string) => {
    const { ok, output } = await runProgram(() => launcher.spawn(command, {}), input, signal)
    if (!ok) throw new EmbeddedPostgresError(`PostgreSQL could not create a database in ${directory}:\n${output}`)
  }
  const initdb = [binaries.initdb, '-D', directory, '--username=postgres', '--auth=reject', '--no-instructions']
  const encoding = ['--encoding=UTF8', '--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8']
  await run([...initdb, ...encoding, '--data-checksums', ...(durable ? [] : ['--no-sync'])])
  await run(singleUser(binaries, directory, 'template1'), roleAndDatabase(password))
  await allowRoles(directory, [ROLE])
}

/**
 * PostgreSQL in single-user mode, as its superuser: each line of its input is a command.
 *
 * Iterations slow down guessing of human-chosen passwords. 32 random bytes cannot be guessed, and every connection
 * would pay the cost.
 */
export function singleUser(
  { postgres }: PostgresBinaries,
  directory: string,
  database: string,
  settings = {}
): string[] {
  const all = { exit_on_error: 'on', scram_iterations: '1', ...settings }
  const options = Object.entries(all).flatMap(([name, value]) => ['-c', `${name}=${value}`])
  return [postgres, '--single', '-D', directory, ...options, database]
}

/** Only these roles may log in, with their passwords. */
export async function allowRoles(directory: string, roles: readonly string[]): Promise<void> {
  const lines = roles.map(role => `local all ${role} scram-sha-256\n`)
  await writeFile(join(directory, 'pg_hba.conf'), lines.join(''), { flush: true })
}

export const newPassword = (): string => randomBytes(32).toString('hex')

/** For single-user mode, where each line is a command. Drills use amcheck to compare indexes with their tables. */
function roleAndDatabase(password: string): string {
  return `
CREATE EXTENSION amcheck WITH SCHEMA pg_catalog
CREATE ROLE ${ROLE} LOGIN CREATEDB PASSWORD '${password}'
GRANT pg_monitor TO ${ROLE}
GRANT EXECUTE ON FUNCTION pg_catalog.bt_index_check(regclass, boolean) TO ${ROLE}
CREATE DATABASE ${DATABASE} OWNER ${ROLE}
`
}

/** Gives a directory tree to the account that PostgreSQL runs under. */
export async function chownTree({ account }: Launcher, directory: string): Promise<void> {
  const { uid } = await stat(directory)
  if (uid === account.uid) return
  if (process.geteuid!() !== 0) {
    throw new EmbeddedPostgresError(
      `${directory} belongs to uid ${uid}, but the server runs as uid ${account.uid}: start it as that user, or chown the directory.`
    )
  }
  const entries = await readdir(directory, { recursive: true })
  for (const entry of ['', ...entries]) await lchown(join(directory, entry), account.uid, account.gid)
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path)
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}
