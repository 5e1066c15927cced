import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { locateBinaries, restoreLibraryLinks } from './binaries.ts'
import { allowRoles, chownTree, layoutOf, newPassword, ROLE, singleUser } from './data-directory.ts'
import { EmbeddedPostgresError, explainFileError } from './errors.ts'
import { chooseLauncher, type Launcher } from './privileges.ts'
import { type ProgramResult, runProgram } from './programs.ts'

export interface Recovery {
  /** A directory whose `data` is an unpacked base backup. */
  readonly dataDir: string
  /** A directory with the log segments from the base backup's first one on, under their own names. */
  readonly wal: string
  /** The instant to stop at; null: the end of the log. */
  readonly to: Date | null
  readonly signal?: AbortSignal
}

/** Preparing for clients during recovery fails in single-user mode, which has no other processes. */
const ALONE = { hot_standby: 'off' }
const ENDED_BEFORE = /recovery ended before configured recovery target was reached/

/**
 * Recovers a database from a base backup and the log that follows it, ready for `startEmbeddedPostgres`. Nothing can
 * connect during recovery.
 * @throws EmbeddedPostgresError when the log has a gap or an error, with PostgreSQL's own message
 */
export async function recoverCluster({ dataDir, wal, to, signal }: Recovery): Promise<void> {
  const layout = layoutOf(dataDir)
  try {
    const binaries = await locateBinaries()
    await restoreLibraryLinks(binaries)
    const launcher = await chooseLauncher(binaries, layout.root, layout.data)
    await refuseOtherMajor(layout.data, launcher)
    await readyForRecovery(layout.data, launcher)
    await mkdir(wal, { recursive: true })
    await chownTree(launcher, wal)
    const password = newPassword()
    const run = (target: object): Promise<ProgramResult> => {
      const settings = {
        restore_command: `cp "${quoted(wal)}/%f" "%p"`,
        recovery_target_action: 'promote',
        ...target,
        ...ALONE
      }
      const command = singleUser(binaries, layout.data, 'template1', settings)
      return runProgram(() => launcher.spawn(command, {}), `ALTER ROLE ${ROLE} PASSWORD '${password}'\n`, signal)
    }
    let result = await run(
      to === null ? {} : { recovery_target_time: to.toISOString().replace('T', ' ').replace('Z', '+00') }
    )
    // Nothing was committed after the target, so recovering to the end of the log gives the same result.
    if (!result.ok && ENDED_BEFORE.test(result.output)) result = await run({})
    if (!result.ok) throw new EmbeddedPostgresError(`PostgreSQL could not recover:\n${result.output}`)
    await writeFile(layout.password, password, { mode: 0o600, flush: true })
    await rm(layout.archivePassword, { force: true })
  } catch (error) {
    throw explainFileError(error, layout.root)
  }
}

async function refuseOtherMajor(data: string, { version }: Launcher): Promise<void> {
  const found = (await readFile(join(data, 'PG_VERSION'), 'utf8')).trim()
  const [major] = version.split('.')
  if (found !== major)
    throw new EmbeddedPostgresError(
      `the base backup was created by PostgreSQL ${found}, but this is PostgreSQL ${major}: recover with the release that has PostgreSQL ${found}`
    )
}

async function readyForRecovery(data: string, launcher: Launcher): Promise<void> {
  await writeFile(join(data, 'recovery.signal'), '', { flush: true })
  await allowRoles(data, [ROLE])
  await chownTree(launcher, data)
}

/** Double-quoted for the shell, with `%` escaped for PostgreSQL. */
function quoted(path: string): string {
  return path.replace(/["$`\\]/g, '\\$&').replaceAll('%', '%%')
}
