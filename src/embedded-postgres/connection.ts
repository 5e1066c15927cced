import { chown, lstat, mkdir, mkdtemp, readlink, rm, symlink, unlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import postgres from 'postgres'
import { nullIf } from '../../plugins/lib/errno.ts'
import { DATABASE, type Layout, ROLE } from './data-directory.ts'
import { EmbeddedPostgresError } from './errors.ts'
import type { Account } from './privileges.ts'

export const PORT = 5432

/**
 * postgres.js 3.4 takes the host of a URL for a path only when it is a list of hosts, that is, has a comma in it. So the
 * socket's directory has a second name that ends in one, and `postgres(url)` works everywhere without further options.
 */
const ALIAS_SUFFIX = ','

/** Bytes that a socket's path may have, without the final NUL. */
const SOCKET_PATH_LIMIT = process.platform === 'darwin' ? 103 : 107

const ANSWER_TIMEOUT_MS = 3_000

export function connectionUrl(socketDirectory: string, password: string): string {
  return `postgres://${ROLE}:${password}@${encodeURIComponent(socketDirectory + ALIAS_SUFFIX)}/${DATABASE}`
}

/** The version of the server that answers at `url` and takes our password; null when none does. */
export async function serverVersion(url: string): Promise<string | null> {
  const sql = postgres(url, { max: 1, fetch_types: false })
  // The driver's own time-out ends with the handshake, and a server that dies within it leaves the query pending.
  const timeout = setTimeout(() => void sql.end({ timeout: 0 }), ANSWER_TIMEOUT_MS)
  try {
    const [row] = await sql`SELECT current_setting('server_version') AS version`
    return String(row?.version).split(' ')[0] ?? null
  } catch {
    // Refused, absent, still starting, another password: whatever it is, this is not a server to talk to now.
    return null
  } finally {
    clearTimeout(timeout)
    await sql.end({ timeout: 0 })
  }
}

/** Makes, or finds again, the private directory that PostgreSQL puts its socket into, and returns its path. */
export async function prepareSocketDirectory(layout: Layout, account: Account): Promise<string> {
  const earlier = await findSocketDirectory(layout)
  if (earlier && (await isPrivate(dirname(earlier) === layout.root ? earlier : dirname(earlier), account))) {
    return earlier
  }
  await rm(layout.socket, { recursive: true, force: true })
  const directory = fits(layout.socket) ? layout.socket : await makeShortDirectory(layout, account)
  await mkdir(directory, { mode: 0o700 })
  await chown(directory, account.uid, account.gid)
  await rm(directory + ALIAS_SUFFIX, { force: true })
  await symlink(basename(directory), directory + ALIAS_SUFFIX)
  return directory
}

/** Where an earlier or a running server has its socket; null when this directory has none yet. */
export async function findSocketDirectory({ socket }: Layout): Promise<string | null> {
  const found = await lstat(socket).catch(nullIf('ENOENT'))
  if (!found) return null
  return found.isSymbolicLink() ? readlink(socket) : socket
}

/** Takes back what lies outside of the data directory. */
export async function removeSocketDirectory(layout: Layout): Promise<void> {
  const directory = await findSocketDirectory(layout)
  if (!directory || directory === layout.socket) return
  await rm(dirname(directory), { recursive: true, force: true })
  await unlink(layout.socket)
}

function fits(directory: string): boolean {
  return Buffer.byteLength(join(directory + ALIAS_SUFFIX, `.s.PGSQL.${PORT}`)) <= SOCKET_PATH_LIMIT
}

/** A directory with a random name that nobody else may enter; a link in the data directory remembers it. */
async function makeShortDirectory(layout: Layout, account: Account): Promise<string> {
  const parent = [tmpdir(), '/tmp'].find(candidate => fits(join(candidate, 'rhone-XXXXXX', 'pg')))
  if (!parent)
    throw new EmbeddedPostgresError(`${layout.socket} is too long for the path of a socket: shorten DATA_DIR.`)
  const shelter = await mkdtemp(join(parent, 'rhone-'))
  await chown(shelter, account.uid, account.gid)
  const directory = join(shelter, 'pg')
  await symlink(directory, layout.socket)
  return directory
}

/** Anybody may have put a directory of that name into a shared /tmp after ours was cleaned away. */
async function isPrivate(directory: string, account: Account): Promise<boolean> {
  const found = await lstat(directory).catch(nullIf('ENOENT'))
  return found?.isDirectory() === true && found.uid === account.uid && (found.mode & 0o077) === 0
}
