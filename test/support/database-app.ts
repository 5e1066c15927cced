import type { TestContext } from 'node:test'
import { sql } from 'drizzle-orm'
import Fastify, { type FastifyInstance } from 'fastify'
import * as schema from '../../drizzle/schema.ts'
import database, { type DatabaseDeps, type DatabaseOptions } from '../../plugins/database/index.ts'
import { AppError } from '../../plugins/lib/errors.ts'
import { freshDatabase } from './database.ts'

/** A bare app with the database plugin, with its own database unless the options name one. */
export async function databaseApp(
  t: TestContext,
  options: Partial<DatabaseOptions> & DatabaseDeps = {}
): Promise<{ app: FastifyInstance; url: string }> {
  const url = options.url ?? (await freshDatabase(t))
  const app = Fastify()
  app.register(database, Object.freeze({ schema, ...options, url }))
  await app.ready()
  t.after(() => app.close())
  return { app, url }
}

export const sleep = async (app: FastifyInstance, seconds: number) => app.db.execute(sql`select pg_sleep(${seconds})`)

/** The 503 that a query is refused with; any other outcome fails the test. */
export async function unavailable(query: PromiseLike<unknown>): Promise<AppError> {
  try {
    await query
  } catch (error) {
    if (error instanceof AppError && error.code === 'SERVICE_UNAVAILABLE') return error
    throw error
  }
  throw new Error('the query was served')
}
