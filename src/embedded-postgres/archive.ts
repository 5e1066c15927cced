import { chown, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { nullIf } from '../../plugins/lib/errno.ts'
import type { Cluster } from './cluster.ts'
import { ARCHIVE_ROLE, allowRoles, DATABASE, type Layout, newPassword, ROLE, singleUser } from './data-directory.ts'
import { EmbeddedPostgresError } from './errors.ts'
import type { Launcher } from './privileges.ts'
import { runProgram } from './programs.ts'

/** What an archiver needs to know about the database. */
export interface ArchiveAccess {
  /** For the replication protocol, as a role that can read base backups but no table. */
  readonly url: string
  /** PostgreSQL puts complete segments of its log into `wal` below it; the rest is the archiver's. */
  readonly directory: string
}

/** Creates the directory that PostgreSQL archives into, and returns its path. */
export async function prepareArchive({ archive }: Layout, { account }: Launcher): Promise<string> {
  const wal = join(archive, 'wal')
  await mkdir(wal, { recursive: true, mode: 0o700 })
  for (const directory of [archive, wal]) await chown(directory, account.uid, account.gid)
  return wal
}

export async function archiveAccess(layout: Layout, url: string): Promise<ArchiveAccess> {
  const password = await readFile(layout.archivePassword, 'utf8')
  const access = new URL(url)
  access.username = ARCHIVE_ROLE
  access.password = password
  return { url: access.href, directory: layout.archive }
}

/**
 * Creates the role for base backups, once, while PostgreSQL does not run: only a superuser may, and none can log in.
 * The server's own role must not get this right, since SQL injected into it could then read every file of the database.
 */
export async function ensureArchiveRole({ layout, binaries, launcher }: Cluster, signal: AbortSignal): Promise<void> {
  if ((await readFile(layout.archivePassword, 'utf8').catch(nullIf('ENOENT'))) !== null) return
  const password = newPassword()
  const command = singleUser(binaries, layout.data, DATABASE)
  const { ok, output } = await runProgram(() => launcher.spawn(command, {}), archiveRole(password), signal)
  if (!ok) throw new EmbeddedPostgresError(`PostgreSQL could not create the role for base backups:\n${output}`)
  await allowRoles(layout.data, [ROLE, ARCHIVE_ROLE])
  await writeFile(layout.archivePassword, password, { mode: 0o600, flush: true })
}

/** For single-user mode. The role may exist already, after a recovery or an interrupted first attempt. */
export function archiveRole(password: string): string {
  return `
DO $$ BEGIN IF to_regrole('${ARCHIVE_ROLE}') IS NULL THEN CREATE ROLE ${ARCHIVE_ROLE}; END IF; END $$
ALTER ROLE ${ARCHIVE_ROLE} LOGIN REPLICATION CONNECTION LIMIT 3 PASSWORD '${password}'
GRANT EXECUTE ON FUNCTION pg_catalog.pg_switch_wal() TO ${ARCHIVE_ROLE}
`
}
