import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startEmbeddedPostgres } from '../../src/embedded-postgres/index.ts'
import type { Scope } from './site.ts'

/** A temporary PostgreSQL for commands other than tests that need a site. Removed when the scope ends. */
export async function startCluster(scope: Scope): Promise<void> {
  const dataDir = await mkdtemp(join(tmpdir(), 'rhone-pages-'))
  await chmod(dataDir, 0o711)
  const log = { info() {}, warn: console.error, error: console.error }
  const postgres = await startEmbeddedPostgres({ dataDir: join(dataDir, 'postgres'), log, durable: false })
  scope.after(async () => {
    await postgres.stop()
    await rm(dataDir, { recursive: true, force: true })
  })
  process.env.RHONE_TEST_DATABASE_URL = postgres.url
}
