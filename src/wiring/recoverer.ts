import { mkdir, readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { nullIf } from '../../plugins/lib/errno.ts'
import { createDataDir } from '../config/data-dir.ts'
import { recoverCluster, startEmbeddedPostgres } from '../embedded-postgres/index.ts'
import type { Recoverer } from '../workflows/archive/recover.ts'

interface Log {
  info(message: string): void
  warn(message: string): void
  error(message: string): void
}

/**
 * Recovers next to the place where servers look for the embedded database, and moves the result there at the end.
 * @throws Error when a database exists already
 */
export async function embeddedRecoverer(dataDir: string, log: Log): Promise<Recoverer> {
  const place = join(dataDir, 'postgres')
  const beside = join(dataDir, 'postgres.restoring')
  await refuseFull(place)
  return {
    async begin() {
      await createDataDir(dataDir)
      await rm(beside, { recursive: true, force: true, maxRetries: 5 })
      await createDataDir(beside)
      await mkdir(join(beside, 'data'), { mode: 0o700 })
      return beside
    },
    recover: (wal, to) => recoverCluster({ dataDir: beside, wal, to }),
    async lend(use) {
      const cluster = await startEmbeddedPostgres({ dataDir: beside, log })
      try {
        return await use(cluster.url)
      } finally {
        await cluster.stop()
      }
    },
    async finish() {
      await rm(join(beside, 'wal'), { recursive: true, force: true })
      await refuseFull(place)
      await rm(place, { recursive: true, force: true })
      await rename(beside, place)
    }
  }
}

/** The remains of a failed start are not a database. */
async function refuseFull(place: string): Promise<void> {
  const found = (await readdir(place).catch(nullIf('ENOENT'))) ?? []
  if (found.includes('data'))
    throw new Error(`${place} already contains a database: move it away, or set DATA_DIR to another directory`)
}
