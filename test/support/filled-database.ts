import type { Sql } from 'postgres'

/** All rows as JSON, by table name. */
export type Contents = ReadonlyMap<string, readonly Row[]>
type Row = Readonly<Record<string, unknown>>

interface Column {
  readonly name: string
  /** SQL's name of the type, without its length. */
  readonly type: string
  readonly length: number | null
  readonly isGenerated: boolean
  /** The referenced `table.column`. */
  readonly refersTo: string | null
  /** The values that a check allows; empty without a check. */
  readonly allowed: readonly string[]
}

const ROWS = 2

/**
 * Fills every empty table with values that follow the types, references and check constraints in the database.
 *
 * @param except tables with rows that only a migration writes
 */
export async function fillDatabase(sql: Sql, except: readonly string[] = []): Promise<void> {
  const tables = (await tablesOf(sql)).filter(table => !except.includes(table))
  const waiting = new Map(await Promise.all(tables.map(async table => [table, await columnsOf(sql, table)] as const)))
  while (waiting.size > 0) {
    const isReady = (columns: readonly Column[], table: string) =>
      columns.every(({ refersTo }) => {
        const [target = ''] = refersTo?.split('.') ?? []
        return target === table || !waiting.has(target)
      })
    const [next] = [...waiting].find(([table, columns]) => isReady(columns, table)) ?? []
    if (next === undefined) throw new Error(`these tables refer to each other: ${[...waiting.keys()].join(', ')}`)
    await fill(sql, next, waiting.get(next)!)
    waiting.delete(next)
  }
}

/** Partitions are read with the table they belong to. */
export async function contentsOf(sql: Sql): Promise<Contents> {
  const contents = new Map<string, readonly Row[]>()
  for (const table of await tablesOf(sql)) {
    const rows = await sql<{ row: Row }[]>`select to_jsonb(t) as row from ${sql(table)} t`
    contents.set(
      table,
      rows.map(({ row }) => row)
    )
  }
  return contents
}

async function tablesOf(sql: Sql): Promise<string[]> {
  const rows = await sql<{ name: string }[]>`
    select c.relname as name from pg_class c
    where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
      and c.relname <> 'schema_migrations' order by 1`
  return rows.map(({ name }) => name)
}

async function columnsOf(sql: Sql, table: string): Promise<Column[]> {
  const columns = await sql<(Omit<Column, 'allowed'> & { checks: string | null })[]>`
    select a.attname as name, a.attnum as position, format_type(a.atttypid, null) as type,
      case when a.atttypmod > 4 and a.atttypid = 'varchar'::regtype then a.atttypmod - 4 end as length,
      a.attidentity <> '' as "isGenerated",
      (select c.confrelid::regclass::text || '.' || f.attname from pg_constraint c
        join pg_attribute f on f.attrelid = c.confrelid and f.attnum = c.confkey[1]
        where c.conrelid = a.attrelid and c.contype = 'f' and c.conkey = array[a.attnum] limit 1) as "refersTo",
      (select string_agg(pg_get_constraintdef(c.oid), ' ') from pg_constraint c
        where c.conrelid = a.attrelid and c.contype = 'c' and c.conkey = array[a.attnum]) as checks
    from pg_attribute a
    where a.attrelid = ${table}::regclass and a.attnum > 0 and not a.attisdropped order by a.attnum`
  return columns.map(({ checks, ...column }) => ({
    ...column,
    allowed: [...(checks ?? '').matchAll(/'([^']*)'|= (\d+)/g)].map(([, text, number]) => text ?? number!)
  }))
}

async function fill(sql: Sql, table: string, columns: readonly Column[]): Promise<void> {
  const [existing] = await sql`select from ${sql(table)} limit 1`
  if (existing !== undefined) return
  const isSingle = columns.some(({ name, allowed }) => name === 'id' && allowed.length > 0)
  for (let number = 0; number < (isSingle ? 1 : ROWS); number++) {
    const given = columns.filter(({ isGenerated }) => !isGenerated)
    const values = await Promise.all(given.map(column => sampleOf(sql, column, table, number)))
    const names = given.map(({ name }) => `"${name}"`).join(', ')
    const places = given.map(({ type }, index) => `$${index + 1}::text::${type}`).join(', ')
    await sql.unsafe(`insert into "${table}" (${names}) values (${places})`, values)
  }
}

/** As text, which PostgreSQL casts. */
async function sampleOf(sql: Sql, column: Column, table: string, number: number): Promise<string | null> {
  const { name, type, length, refersTo, allowed } = column
  if (refersTo !== null) {
    const [target = '', key = ''] = refersTo.split('.')
    if (target === table) return null
    const [row] = await sql`select ${sql(key)}::text as value from ${sql(target)} order by 1 offset ${number} limit 1`
    return row?.value ?? null
  }
  if (allowed.length > 0) return allowed[number % allowed.length]!
  const text = `${name} ${number} of ${table} é€😀`
  switch (type) {
    case 'uuid':
      return crypto.randomUUID()
    case 'bytea':
      return `\\x${Buffer.from(`${table}.${name}.${number}`).toString('hex')}`
    case 'boolean':
      return 'true'
    case 'smallint':
    case 'integer':
    case 'bigint':
      return String(100 + number)
    case 'numeric':
      return `${number}.25`
    case 'jsonb':
      return JSON.stringify({ kept: [number, table, 'é'] })
    case 'date':
      return `2026-0${1 + number}-15`
    case 'timestamp with time zone':
      return `2026-0${1 + number}-28 23:59:59.123456+00`
    default:
      return type.endsWith('[]') ? '{deploy,read}' : text.slice(0, length ?? text.length)
  }
}
