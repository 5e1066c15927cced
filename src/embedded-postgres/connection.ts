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
 * postgres.js 3.4 treats the host in a URL as a path only when it is a list of hosts, that is, contains a comma. So the
 * socket's directory has an alias that ends in one, and `postgres(url)` works everywhere without further options.
 */
const ALIAS_SUFFIX = ','

/** Maximum length of a socket's path in bytes, without the final NUL. */
const SOCKET_PATH_LIMIT = process.platform === 'darwin' ? 103 : 107

const ANSWER_TIMEOUT_MS = 3_000

export function connectionUrl(socketDirectory: string, password: string): string {
  return `postgres://${ROLE}:${password}@${encodeURIComponent(socketDirectory + ALIAS_SUFFIX)}/${DATABASE}`
}

/** The version of the server that answers at `url` and accepts our password; null if there is none. */
export async function serverVersion(url: string): Promise<string | null> {
  const sql = postgres(url, { max: 1, fetch_types: false })
  // The driver's own timeout ends with the handshake; a server that dies during it leaves the query pending.
  const timeout = setTimeout(() => void sql.end({ timeout: 0 }), ANSWER_TIMEOUT_MS)
  try {
    const [row] = await sql`SELECT current_setting('server_version') AS version`
    return String(row?.version).split(' ')[0] ?? null
  } catch {
    // Refused, absent, still starting, wrong password: in every case this server cannot be used now.
    return null
  } finally {
    clearTimeout(timeout)
    await sql.end({ timeout: 0 })
  }
}

/** Creates or finds the private directory for PostgreSQL's socket, and returns its path. */
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

/** The socket directory of an earlier or running server; null if this data directory has none yet. */
export async function findSocketDirectory({ socket }: Layout): Promise<string | null> {
  const found = await lstat(socket).catch(nullIf('ENOENT'))
  if (!found) return null
  return found.isSymbolicLink() ? readlink(socket) : socket
}

/** Removes everything that lies outside the data directory. */
export async function removeSocketDirectory(layout: Layout): Promise<void> {
  const directory = await findSocketDirectory(layout)
  if (!directory || directory === layout.socket) return
  await rm(dirname(directory), { recursive: true, force: true })
  await unlink(layout.socket)
}

function fits(directory: string): boolean {
  return Buffer.byteLength(join(directory + ALIAS_SUFFIX, `.s.PGSQL.${PORT}`)) <= SOCKET_PATH_LIMIT
}

/** A randomly named directory that only its owner may enter; a link in the data directory records it. */
async function makeShortDirectory(layout: Layout, account: Account): Promise<string> {
  const parent = [tmpdir(), '/tmp'].find(candidate => fits(join(candidate, 'rhone-XXXXXX', 'pg')))
  if (!parent) throw new EmbeddedPostgresError(`${layout.socket} is too long for a socket path: shorten DATA_DIR.`)
  const shelter = await mkdtemp(join(parent, 'rhone-'))
  await chown(shelter, account.uid, account.gid)
  const directory = join(shelter, 'pg')
  await symlink(directory, layout.socket)
  return directory
}

/** After a cleanup of /tmp, another user may have created a directory with the same name. */
async function isPrivate(directory: string, account: Account): Promise<boolean> {
  const found = await lstat(directory).catch(nullIf('ENOENT'))
  return found?.isDirectory() === true && found.uid === account.uid && (found.mode & 0o077) === 0
}
