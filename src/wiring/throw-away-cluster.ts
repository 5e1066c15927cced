import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { nullIf } from '../../plugins/lib/errno.ts'
import { createDataDir } from '../config/data-dir.ts'
import { startEmbeddedPostgres } from '../embedded-postgres/index.ts'
import type { LendCluster } from '../workflows/backups/drill.ts'

interface Log {
  info(message: string): void
  warn(message: string): void
  error(message: string): void
}

/**
 * Lends an empty PostgreSQL below DATA_DIR, with a socket and no port. First stops one that a killed process has left
 * running; two never run at once.
 */
export function temporaryCluster(dataDir: string, log: Log): LendCluster {
  const directory = join(dataDir, 'drill')
  const start = () => startEmbeddedPostgres({ dataDir: directory, log, durable: false })
  return async use => {
    await createDataDir(dataDir)
    if (await readFile(join(directory, 'data', 'PG_VERSION')).catch(nullIf('ENOENT'))) await (await start()).stop()
    await rm(directory, { recursive: true, force: true, maxRetries: 5 })
    const cluster = await start()
    try {
      return await use(cluster.url)
    } finally {
      await cluster.stop()
      await rm(directory, { recursive: true, force: true, maxRetries: 5 })
    }
  }
}
