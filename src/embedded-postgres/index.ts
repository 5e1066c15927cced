import type { ExclusiveLock } from '../../plugins/lib/exclusive-lock.ts'
import { createDataDir } from '../config/data-dir.ts'
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

export { EmbeddedPostgresError } from './errors.ts'

export interface EmbeddedPostgresOptions {
  /** The directory that holds the database, its password, log and socket. One server owns it at a time. */
  readonly dataDir: string
  readonly log: Log
  /** `false` trades the safety from a power cut, not that from a killed process, for speed: for tests. */
  readonly durable?: boolean
  /** Ends a start that is under way; nothing is left running and the returned promise rejects. */
  readonly signal?: AbortSignal
  /** PostgreSQL's programs; by default those of the npm package for this platform. */
  readonly binaries?: PostgresBinaries
}

export interface EmbeddedPostgres {
  /** For postgres.js as it is: `postgres(url)`. It stays the same over restarts of PostgreSQL. */
  readonly url: string
  /** Shuts PostgreSQL down, rolling back what is open, and gives up the directory. May be called again. */
  stop(): Promise<void>
}

/**
 * Runs a real PostgreSQL on a directory of its own and keeps it running until `stop()`.
 *
 * What a killed server left running is adopted; what dies is restarted. Rejects with an EmbeddedPostgresError when
 * there is something that only the operator can mend.
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

/** The URL of the PostgreSQL that some server runs on `dataDir`, for a visitor that must not own it; null if none runs. */
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
  { log, durable = true, signal = new AbortController().signal, ...options }: EmbeddedPostgresOptions,
  lock: ExclusiveLock
): Promise<EmbeddedPostgres> {
  const binaries = options.binaries ?? (await locateBinaries())
  await restoreLibraryLinks(binaries)
  const launcher = await chooseLauncher(binaries, layout.root, layout.data)
  const password = await openCluster({ layout, binaries, launcher, durable, signal })
  const socketDirectory = await prepareSocketDirectory(layout, launcher.account)
  const url = connectionUrl(socketDirectory, password)
  const cluster: Cluster = { layout, binaries, launcher, socketDirectory, url, durable, log }
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
    stop() {
      stopped ??= shutDown()
      return stopped
    }
  }
}
