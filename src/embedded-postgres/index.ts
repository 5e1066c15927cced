import type { ExclusiveLock } from '../../plugins/lib/exclusive-lock.ts'
import { createDataDir } from '../config/data-dir.ts'
import { type ArchiveAccess, archiveAccess, prepareArchive } from './archive.ts'
import { locateBinaries, type PostgresBinaries, restoreLibraryLinks } from './binaries.ts'
import type { Cluster, Log } from './cluster.ts'
import {
  connectionUrl,
  findSocketDirectory,
  prepareSocketDirectory,
  removeSocketDirectory,
  serverVersion
} from './connection.ts'
import { type Layout, layoutOf, openCluster, readPassword } from './data-directory.ts'
import { explainFileError } from './errors.ts'
import { boundLog } from './log-file.ts'
import { acquireOwnerLock } from './owner-lock.ts'
import { adoptOrStart } from './postmaster.ts'
import { chooseLauncher } from './privileges.ts'
import { supervise } from './supervisor.ts'

export type { ArchiveAccess } from './archive.ts'
export { EmbeddedPostgresError } from './errors.ts'
export { recoverCluster } from './recovery.ts'

export interface EmbeddedPostgresOptions {
  /** The directory for the database, its password, log and socket. One server owns it at a time. */
  readonly dataDir: string
  readonly log: Log
  /** `false` gives up safety from power loss, but not from a killed process, in exchange for speed: for tests. */
  readonly durable?: boolean
  /** How many clients may be connected at once; 100 by default. */
  readonly maxConnections?: number
  /** Whether the write-ahead log is archived, and the archive role can read it; see `ArchiveAccess`. Default false. */
  readonly archive?: boolean
  /** Aborts a start in progress; nothing is left running and the returned promise rejects. */
  readonly signal?: AbortSignal
  /** PostgreSQL's programs; by default those of the npm package for this platform. */
  readonly binaries?: PostgresBinaries
}

export interface EmbeddedPostgres {
  /** Works with postgres.js as is: `postgres(url)`. Stays the same across restarts of PostgreSQL. */
  readonly url: string
  /** Null: the log is not archived. */
  readonly archive: ArchiveAccess | null
  /** Shuts PostgreSQL down, rolls back open transactions and releases the directory. May be called again. */
  stop(): Promise<void>
}

/**
 * Runs a real PostgreSQL on its own directory and keeps it running until `stop()`.
 *
 * Adopts a PostgreSQL that a killed server left running, and restarts one that dies. Rejects with an
 * EmbeddedPostgresError when only the operator can fix the problem.
 */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const layout = layoutOf(options.dataDir)
  try {
    await createDataDir(layout.root)
    const lock = await acquireOwnerLock(layout.root)
    try {
      return await own(layout, options, lock)
    } catch (error) {
      lock.release()
      throw error
    }
  } catch (error) {
    throw explainFileError(error, layout.root)
  }
}

/**
 * The URL of the PostgreSQL that another server runs on `dataDir`, for a visitor that must not own it; null if none
 * runs.
 */
export async function findEmbeddedPostgres(dataDir: string): Promise<string | null> {
  const layout = layoutOf(dataDir)
  try {
    const [password, socketDirectory] = await Promise.all([readPassword(layout), findSocketDirectory(layout)])
    if (!password || !socketDirectory) return null
    const url = connectionUrl(socketDirectory, password)
    return (await serverVersion(url)) ? url : null
  } catch (error) {
    throw explainFileError(error, layout.root)
  }
}

async function own(
  layout: Layout,
  {
    log,
    durable = true,
    maxConnections = 100,
    signal = new AbortController().signal,
    ...options
  }: EmbeddedPostgresOptions,
  lock: ExclusiveLock
): Promise<EmbeddedPostgres> {
  const binaries = options.binaries ?? (await locateBinaries())
  await restoreLibraryLinks(binaries)
  const launcher = await chooseLauncher(binaries, layout.root, layout.data)
  const password = await openCluster({ layout, binaries, launcher, durable, signal })
  const socketDirectory = await prepareSocketDirectory(layout, launcher.account)
  const url = connectionUrl(socketDirectory, password)
  const archive = options.archive ? await prepareArchive(layout, launcher) : null
  const cluster: Cluster = {
    ...{ layout, binaries, launcher, socketDirectory, url, durable, maxConnections, log },
    archive
  }
  await boundLog(layout.log)
  const supervision = supervise(cluster, await adoptOrStart(cluster, signal))

  async function shutDown(): Promise<void> {
    try {
      await supervision.stop()
      await removeSocketDirectory(layout)
    } finally {
      lock.release()
    }
  }
  let stopped: Promise<void> | undefined
  return {
    url,
    archive: archive === null ? null : await archiveAccess(layout, url),
    stop() {
      stopped ??= shutDown()
      return stopped
    }
  }
}
