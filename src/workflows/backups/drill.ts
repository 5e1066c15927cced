import { randomBytes } from 'node:crypto'
import { drizzle } from 'drizzle-orm/postgres-js'
import postgres, { type Sql } from 'postgres'
import * as schema from '../../../drizzle/schema.ts'
import { openStorage, type Storage } from '../../../integrations/storage/index.ts'
import { postgresTarget } from '../../../plugins/lib/postgres.ts'
import { AuditKeys } from '../../domain/audit/keys.ts'
import { verifyAudit } from '../../domain/audit/verify.ts'
import type { Db } from '../../domain/base/db.ts'
import { openSamples } from '../../domain/secrets/samples.ts'
import { type Migrator, type RestoreSettings, restoreBackup, ringOf } from './restore.ts'

/** Runs a PostgreSQL that nothing else can reach, and removes it afterwards. */
export type LendCluster = <Result>(use: (url: string) => Promise<Result>) => Promise<Result>

export type DrillSettings = Pick<RestoreSettings, 'storage' | 'identities' | 'backup' | 'keyrings'>

export interface Drill {
  readonly backup: string
  readonly installation: string
  readonly startedAt: string
  readonly rows: number
  /** Seconds from the first byte read to a checked database: what a real restore would take here. */
  readonly rtoSeconds: number
  /** The age of the backup when the drill began: the data that a loss at that moment would have cost. */
  readonly rpoSeconds: number
  readonly auditRows: number
  /** The ids of the keys that opened at least one secret. */
  readonly keys: string[]
  readonly indexes: number
}

/** Results of drills, stored next to the backups: every instance reports the same, and they survive a restore. */
const DRILLS = 'drills/'
/** Number of results kept. */
const MOST_RESULTS = 60

/**
 * Practises a restore in a throw-away database: all steps of a real one, followed by checks of the result. No job runs
 * there, and nothing external is called.
 * @throws Error that says what a real restore would have run into
 */
export async function drillBackup(
  settings: DrillSettings,
  migrator: Migrator,
  lendCluster: LendCluster,
  signal?: AbortSignal
): Promise<Drill> {
  const startedAt = new Date()
  const drill = await lendCluster(async databaseUrl => {
    const begun = performance.now()
    const restored = await restoreBackup({ ...settings, databaseUrl, by: 'drill' }, migrator, signal)
    const { manifest, keyrings, backup } = restored
    // Not a single-connection session: the domain's transactions take one from a pool.
    const sql = postgres({ ...postgresTarget(databaseUrl), max: 2, fetch_types: false, onnotice: () => {} })
    try {
      const db = drizzle(sql, { schema, casing: 'snake_case' }) as unknown as Db
      const auditRows = await checkAudit(db, keyrings.SIGNING_KEYS)
      const keys = await openSamples(db, ringOf(keyrings.ENCRYPTION_KEYS))
      const indexes = await checkIndexes(sql)
      return {
        backup: backup.id,
        installation: manifest.installation,
        startedAt: startedAt.toISOString(),
        rows: restored.rows,
        rtoSeconds: (performance.now() - begun) / 1_000,
        rpoSeconds: Math.max(0, (startedAt.getTime() - Date.parse(manifest.takenAt)) / 1_000),
        auditRows,
        keys,
        indexes
      }
    } finally {
      await sql.end({ timeout: 1 })
    }
  })
  await record(openStorage(settings.storage)!, drill)
  return drill
}

async function checkAudit(db: Db, signingKeys: string): Promise<number> {
  const { problems, intact, waiting } = await verifyAudit(db, new AuditKeys(ringOf(signingKeys)))
  if (problems.length > 0) throw new Error(`the audit log does not verify: ${problems.map(p => p.message).join('; ')}`)
  return intact + waiting
}

/** Compares every B-tree index with its table. */
async function checkIndexes(sql: Sql): Promise<number> {
  const indexes = await sql<{ oid: number }[]>`
    select c.oid::integer as oid from pg_class c
    join pg_am a on a.oid = c.relam join pg_namespace n on n.oid = c.relnamespace
    where a.amname = 'btree' and c.relkind = 'i' and n.nspname in ('public', 'pgboss')`
  for (const { oid } of indexes) await sql`select bt_index_check(${oid}::oid::regclass, true)`
  return indexes.length
}

async function record(storage: Storage, drill: Drill): Promise<void> {
  const at = drill.startedAt.replace(/[-:]|\.\d+/g, '')
  const name = `${DRILLS}${at}-${randomBytes(4).toString('hex')}.json`
  await storage.put(name, [Buffer.from(`${JSON.stringify(drill, null, 2)}\n`)])
  const results = await storage.list(DRILLS)
  for (const { name: old } of results.slice(0, -MOST_RESULTS)) await storage.remove(old).catch(() => {}) // may have a retention lock
}

/** The latest successful drill of an installation; null if there is none. */
export async function lastDrill(storage: Storage, installation: string, signal?: AbortSignal): Promise<Drill | null> {
  const results = await storage.list(DRILLS, signal)
  for (const { name } of results.reverse()) {
    const text = Buffer.concat((await Array.fromAsync(await storage.get(name, signal))) as Buffer[]).toString()
    const drill = JSON.parse(text) as Drill
    if (drill.installation === installation) return drill
  }
  return null
}
