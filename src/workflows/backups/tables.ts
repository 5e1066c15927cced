import type { Sql } from 'postgres'
import type { NeededKeys, SequenceManifest, TableManifest } from './manifest.ts'

/* Finds a database's contents in its catalogue, so that a table of a new migration needs no code here. */

export type TableFacts = Pick<TableManifest, 'schema' | 'name' | 'columns'>

/** The schemas of our tables: those of the platform, and those of its jobs. */
const SCHEMAS = ['public', 'pgboss']

/** Session parameters that make COPY write the same text for the same rows, whatever the server's settings. */
export const COPY_PARAMETERS = {
  TimeZone: 'UTC',
  DateStyle: 'ISO, YMD',
  IntervalStyle: 'postgres',
  extra_float_digits: 3,
  bytea_output: 'hex',
  client_encoding: 'UTF8',
  synchronize_seqscans: 'off',
  max_parallel_workers_per_gather: 0,
  statement_timeout: 0,
  lock_timeout: 30_000,
  idle_in_transaction_session_timeout: 0
} as const

interface FoundTable extends TableFacts {
  readonly oid: number
}

/** All tables with their stored columns, referenced tables first. Partitions are read through their parent table. */
export async function findTables(sql: Sql): Promise<TableFacts[]> {
  const tables = await sql<FoundTable[]>`
    select c.oid::integer as oid, n.nspname as schema, c.relname as name,
      array(select a.attname::text from pg_attribute a
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
        order by a.attnum) as columns
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname in ${sql(SCHEMAS)} and c.relkind in ('r', 'p') and not c.relispartition
      and not exists (select from pg_depend d where d.objid = c.oid and d.deptype = 'e')
    order by n.nspname, c.relname`
  const references = await sql<{ from: number; to: number }[]>`
    select conrelid::integer as "from", confrelid::integer as "to" from pg_constraint
    where contype = 'f' and conparentid = 0 and conrelid <> confrelid`
  return inOrder(
    tables.map(table => ({ ...table, columns: textArray(table.columns) })),
    references
  )
}

/** Without the driver's lookup of types, arrays arrive as text. */
function textArray(value: readonly string[] | string): string[] {
  if (typeof value !== 'string') return [...value]
  return value === '{}'
    ? []
    : value
        .slice(1, -1)
        .split(',')
        .map(name => name.replace(/^"(.*)"$/, '$1'))
}

/** @throws Error when tables reference each other in a circle */
function inOrder(tables: readonly FoundTable[], references: readonly { from: number; to: number }[]): TableFacts[] {
  const waiting = [...tables]
  const placed = new Set<number>()
  const ordered: TableFacts[] = []
  const known = new Set(tables.map(({ oid }) => oid))
  while (waiting.length > 0) {
    const next = waiting.findIndex(({ oid }) =>
      references.every(({ from, to }) => from !== oid || placed.has(to) || !known.has(to))
    )
    if (next < 0)
      throw new Error(`tables refer to each other in a circle: ${waiting.map(({ name }) => name).join(', ')}`)
    const [{ oid, schema, name, columns }] = waiting.splice(next, 1) as [FoundTable]
    placed.add(oid)
    ordered.push({ schema, name, columns })
  }
  return ordered
}

/** Sequences of tables. Their state is not part of a snapshot, and is never older than the rows. */
export async function findSequences(sql: Sql): Promise<SequenceManifest[]> {
  const found = await sql<{ schema: string; name: string }[]>`
    select schemaname as schema, sequencename as name from pg_sequences
    where schemaname in ${sql(SCHEMAS)} order by 1, 2`
  const sequences: SequenceManifest[] = []
  for (const { schema, name } of found) {
    const [state] =
      await sql`select last_value::text as value, is_called as "isCalled" from ${sql(schema)}.${sql(name)}`
    sequences.push({ schema, name, value: state!.value, isCalled: state!.isCalled })
  }
  return sequences
}

/** The ids of the keys that sealed the database's values: every table with a sealed value has these columns. */
export async function sealedWith(sql: Sql): Promise<string[]> {
  const tables = await sql<{ schema: string; name: string }[]>`
    select table_schema as schema, table_name as name from information_schema.columns
    where table_schema = 'public' and column_name in ('value_encrypted', 'nonce', 'key_id')
    group by 1, 2 having count(*) = 3`
  const ids = new Set<string>()
  for (const { schema, name } of tables)
    for (const { id } of await sql<{ id: string }[]>`select distinct key_id as id from ${sql(schema)}.${sql(name)}`)
      ids.add(id)
  return [...ids].sort()
}

/** The ids of the needed keys, by the variable that holds them. */
export function idsOf(keys: NeededKeys): Record<keyof NeededKeys, string[]> {
  return {
    ENCRYPTION_KEYS: keys.ENCRYPTION_KEYS.map(({ id }) => id),
    SIGNING_KEYS: keys.SIGNING_KEYS.map(({ id }) => id)
  }
}

export function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}

export const nameOf = ({ schema, name }: { schema: string; name: string }) => `${quoted(schema)}.${quoted(name)}`
