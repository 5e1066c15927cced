import { chown, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { nullIf } from '../../plugins/lib/errno.ts'
import type { Cluster } from './cluster.ts'
import { ARCHIVE_ROLE, allowRoles, DATABASE, type Layout, newPassword, ROLE, singleUser } from './data-directory.ts'
import { EmbeddedPostgresError } from './errors.ts'
import type { Launcher } from './privileges.ts'
import { runProgram } from './programs.ts'

/** What an archiver of the database needs. */
export interface ArchiveAccess {
  /** For the replication protocol, of a role that reads base backups and no table. */
  readonly url: string
  /** Below it, `wal` gets complete pieces of the log; the rest is the archiver's. */
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
 * Makes the role for base backups, once, while PostgreSQL does not run: only a superuser may, and none can log in. The
 * role of the server itself must not get this right, since SQL that reaches it could then read every file of the
 * database.
 */
export async function ensureArchiveRole({ layout, binaries, launcher }: Cluster, signal: AbortSignal): Promise<void> {
  if ((await readFile(layout.archivePassword, 'utf8').catch(nullIf('ENOENT'))) !== null) return
  const password = newPassword()
  const command = singleUser(binaries, layout.data, DATABASE)
  const { ok, output } = await runProgram(() => launcher.spawn(command, {}), archiveRole(password), signal)
  if (!ok) throw new EmbeddedPostgresError(`PostgreSQL could not make the role for base backups:\n${output}`)
  await allowRoles(layout.data, [ROLE, ARCHIVE_ROLE])
  await writeFile(layout.archivePassword, password, { mode: 0o600, flush: true })
}

/** For single-user mode. A recovered database has the role already, and so has one whose first attempt was cut off. */
export function archiveRole(password: string): string {
  return `
DO $$ BEGIN IF to_regrole('${ARCHIVE_ROLE}') IS NULL THEN CREATE ROLE ${ARCHIVE_ROLE}; END IF; END $$
ALTER ROLE ${ARCHIVE_ROLE} LOGIN REPLICATION CONNECTION LIMIT 3 PASSWORD '${password}'
GRANT EXECUTE ON FUNCTION pg_catalog.pg_switch_wal() TO ${ARCHIVE_ROLE}
`
}
