import { isDeepStrictEqual } from 'node:util'
import { sql } from 'drizzle-orm'
import { integer, jsonb, pgTable, text, timestamp } from 'drizzle-orm/pg-core'
import { drizzle } from 'drizzle-orm/postgres-js'
import type { FastifyBaseLogger } from 'fastify'
import type { Sql } from 'postgres'
import { AppError } from '../lib/errors.ts'
import { adapt, type Drizzle } from './quick-queries.ts'
import { statementsWork } from './statement.ts'

const things = pgTable('things', {
  id: integer(),
  name: text(),
  madeAt: timestamp({ withTimezone: true }),
  facts: jsonb()
})
const ROW = { id: 1, name: null, made_at: '2026-01-02 03:04:05+00', facts: '{"a":[1]}' }

/** One query of each kind that takes the quick path. */
const QUERIES: readonly ((db: Drizzle) => PromiseLike<unknown>)[] = [
  db => db.select().from(things),
  db => db.select({ count: sql<number>`count(*)`.mapWith(Number), at: things.madeAt }).from(things),
  db =>
    db
      .select()
      .from(things)
      .where(sql`id = ${sql.placeholder('id')}`)
      .prepare('one')
      .execute({ id: 1 }),
  // A query that runs again takes another path.
  async db => {
    const query = db
      .update(things)
      .set({ name: sql`${sql.placeholder('name')}`, madeAt: sql`${sql.param(sql.placeholder('at'), things.madeAt)}` })
      .returning()
      .prepare('two')
    return [
      await query.execute({ name: 'a', at: new Date(1) }),
      await query.execute({ name: null, at: new Date(2) }),
      await query.execute({ name: 'b', at: new Date(3) })
    ]
  },
  db => db.insert(things).values({ id: 1, madeAt: new Date(0), facts: { a: 1 } }),
  db => db.update(things).set({ name: 'a' }).returning({ name: things.name }),
  db => db.execute(sql`select ${1}::int`)
]

export interface Shortcuts {
  /** Whether queries bypass drizzle's own execution path. */
  readonly isQuick: boolean
  /** Whether statements are handed to the driver without a query of its own. */
  readonly isDirect: boolean
}

/** The shortcuts that work with this drizzle and this driver; logs a warning for each that does not. */
export async function checkShortcuts(areWanted: boolean, log: Pick<FastifyBaseLogger, 'warn'>): Promise<Shortcuts> {
  if (!areWanted) return { isQuick: false, isDirect: false }
  const [isQuick, isDirect] = [await quickQueriesWork(), statementsWork()]
  if (!isQuick) log.warn('this drizzle version runs queries differently: using its slower standard way')
  if (!isDirect) log.warn('this postgres.js version runs queries differently: using its slower standard way')
  return { isQuick, isDirect }
}

/**
 * Whether quick-path queries send and return the same as drizzle's own, checked against an in-memory database. The
 * quick path replaces methods that drizzle does not document.
 */
export async function quickQueriesWork(make: (client: Sql) => Drizzle = makeDrizzle): Promise<boolean> {
  try {
    for (const query of QUERIES) {
      const theirs = await outcomeOf(query, make, false)
      if (!isDeepStrictEqual(await outcomeOf(query, make, true), theirs)) return false
    }
    return await keepsErrors(make)
  } catch {
    return false // a method it calls is gone or has changed its meaning
  }
}

const makeDrizzle = (client: Sql): Drizzle => drizzle(client, { casing: 'snake_case' })

async function outcomeOf(query: (db: Drizzle) => PromiseLike<unknown>, make: typeof makeDrizzle, isQuick: boolean) {
  const sent: unknown[] = []
  const db = make(clientOver(row => sent.push(row), [ROW]))
  if (isQuick) adapt(db._.session, true)
  return { result: await query(db), sent }
}

async function keepsErrors(make: typeof makeDrizzle): Promise<boolean> {
  const failure = new AppError('SERVICE_UNAVAILABLE')
  const db = make(clientOver(() => {}, failure))
  adapt(db._.session, true)
  const caught = await Promise.resolve(db.select().from(things)).catch(error => error)
  return caught === failure
}

/** The parts of a driver's client that drizzle uses. */
function clientOver(onQuery: (query: unknown) => void, answer: readonly Record<string, unknown>[] | Error): Sql {
  const settle = (rows: unknown) => (answer instanceof Error ? Promise.reject(answer) : Promise.resolve(rows))
  const unsafe = (text: string, parameters: unknown[]) => {
    onQuery([text, parameters])
    const rows = answer instanceof Error ? [] : answer
    const columns = /^select count/.test(text) ? ['id', 'made_at'] : Object.keys(ROW)
    const reply = settle(rows)
    reply.catch(() => {}) // where arrays are requested, the objects are never awaited
    return Object.assign(reply, { values: () => settle(rows.map(row => columns.map(name => row[name]))) })
  }
  return { options: { parsers: {}, serializers: {} }, unsafe } as unknown as Sql
}
