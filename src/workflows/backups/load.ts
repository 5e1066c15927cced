import { once } from 'node:events'
import { PassThrough } from 'node:stream'
import type { Sql } from 'postgres'
import type { Session } from '../../../plugins/lib/postgres-session.ts'
import { copyIn, copyOut, RowMeter } from './copy.ts'
import type { Manifest, TableManifest } from './manifest.ts'
import { nameOf, quoted } from './tables.ts'

/** Bytes that are compared at a time. */
const BLOCK = 1024 * 1024

/**
 * Loads a backup's rows into a transaction's tables, which are emptied first. Constraints are checked; our triggers do
 * not run, since their effects are already in the rows.
 */
export class Loader {
  readonly #session: Session
  readonly #tables: ReadonlyMap<string, TableManifest>
  #current: { readonly table: string; readonly stream: PassThrough; readonly done: Promise<void> } | undefined

  constructor(session: Session, tables: readonly TableManifest[]) {
    this.#session = session
    this.#tables = new Map(tables.map(table => [`${table.schema}.${table.name}`, table]))
  }

  async begin(auditMonths: readonly string[]): Promise<void> {
    const { sql } = this.#session
    const names = [...this.#tables.values()].map(nameOf)
    await switchTriggers(sql, names, 'disable')
    await sql.unsafe(`truncate ${names.join(', ')}`)
    for (const month of auditMonths)
      await sql`select ensure_audit_partitions(${`${month.replace('_', '-')}-01`}::date, 1)`
  }

  /** Adds rows, one table after another, in the order of the manifest. Excluded tables are skipped. */
  async add(table: string, rows: Buffer): Promise<void> {
    const facts = this.#tables.get(table)
    if (facts === undefined) return
    if (this.#current?.table !== table) {
      await this.#finish()
      const stream = new PassThrough({ highWaterMark: 1024 * 1024 })
      const done = copyIn(this.#session, facts, stream)
      done.catch(error => stream.destroy(error))
      this.#current = { table, stream, done }
    }
    const { stream, done } = this.#current
    if (!stream.write(rows)) await Promise.race([once(stream, 'drain'), done])
  }

  async end(sequences: Manifest['sequences']): Promise<void> {
    await this.#finish()
    const { sql } = this.#session
    const loaded = new Set([...this.#tables.values()].map(({ schema }) => schema))
    for (const { schema, name, value, isCalled } of sequences)
      if (loaded.has(schema)) {
        const sequence = nameOf({ schema, name })
        await sql`select setval(${sequence}::regclass, ${value}::bigint, ${isCalled})`
      }
    await switchTriggers(sql, [...this.#tables.values()].map(nameOf), 'enable')
  }

  async #finish(): Promise<void> {
    if (this.#current === undefined) return
    const { stream, done } = this.#current
    this.#current = undefined
    stream.end()
    await done
  }
}

/** Those of partitions have to be named one by one. */
async function switchTriggers(sql: Sql, names: readonly string[], how: 'enable' | 'disable'): Promise<void> {
  const partitions = await sql<{ schema: string; name: string }[]>`
    select n.nspname as schema, c.relname as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relispartition and c.relkind = 'r' and n.nspname = 'public'`
  for (const name of [...names, ...partitions.map(nameOf)]) await sql.unsafe(`alter table ${name} ${how} trigger user`)
}

/**
 * Rereads the tables and compares every row with the manifest.
 * @throws Error that names the first table that differs
 */
export async function compareTables(session: Session, tables: readonly TableManifest[]): Promise<void> {
  const block = Buffer.allocUnsafeSlow(BLOCK)
  for (const table of tables) {
    const meter = new RowMeter()
    for await (const rows of copyOut(session, table, block)) meter.add(rows)
    const { rows, sha256 } = meter.result()
    if (rows !== table.rows || sha256 !== table.sha256)
      throw new Error(
        `table ${quoted(table.name)} came back with ${rows} rows that are not the ${table.rows} of the backup`
      )
  }
}
