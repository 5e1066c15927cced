import { randomUUID } from 'node:crypto'
import { Registry } from '@platformatic/prom-client'
import { sql } from 'drizzle-orm'
import Fastify, { type FastifyInstance } from 'fastify'
import type { Db } from '../../drizzle/schema.ts'
import database, { type DatabaseOptions } from '../../plugins/database/index.ts'
import jobs, { type JobQueue, type JobState, type JobsDeps, type JobsOptions } from '../../plugins/jobs/index.ts'

export interface JobServer {
  readonly app: FastifyInstance
  readonly registry: Registry
  /** What was logged so far, a line each. */
  readonly lines: Record<string, unknown>[]
}

export interface JobServerOptions extends Partial<JobsOptions>, JobsDeps {
  readonly database?: Partial<DatabaseOptions>
}

/** A server with only a database and jobs, and short intervals; it runs jobs after `start`. */
export async function jobServer(
  scope: { after(release: () => Promise<unknown>): void },
  url: string,
  { database: databaseOptions, ...options }: JobServerOptions
): Promise<JobServer> {
  const lines: Record<string, unknown>[] = []
  const registry = new Registry()
  const app = Fastify({ logger: { level: 'info', stream: { write: line => void lines.push(JSON.parse(line)) } } })
  scope.after(() => app.close())
  // On a busy machine, slow operations must not fail.
  await app.register(database, { url, queueTimeout: 10_000, ...databaseOptions })
  await app.register(jobs, { registry, pollInterval: 50, grace: 200, ...options })
  await app.ready()
  return { app, registry, lines }
}

/** The states of the jobs of a queue, the newest first. */
export async function statesIn({ app }: JobServer, { name }: Pick<JobQueue, 'name'>): Promise<JobState[]> {
  return (await app.jobs.list({ queue: name }, 100)).map(({ state }) => state)
}

/** The outcomes of a queue's attempts on this server, without those that have not occurred. */
export async function outcomesOf(
  { registry }: JobServer,
  { name }: Pick<JobQueue, 'name'>
): Promise<Record<string, number>> {
  const text = await registry.metrics()
  const lines = text.matchAll(new RegExp(`^rhone_jobs_total\\{queue="${name}",outcome="(\\w+)"\\} (\\d+)$`, 'gm'))
  return Object.fromEntries(Array.from(lines, ([, outcome, n]) => [outcome, Number(n)]).filter(([, n]) => n !== 0))
}

/**
 * A permanently failed job of a queue that no server processes.
 *
 * @returns its id, as shown to operators
 */
export async function addDeadJob(db: Db, error = 'it did not work'): Promise<string> {
  await db.execute(sql`select pgboss.create_queue('graveyard', '{"policy": "standard"}')`)
  const [job] = await db.execute<{ id: string }>(sql`
    insert into pgboss.job (name, state, data, output, singleton_key, started_on, completed_on)
    values ('graveyard', 'failed', '{"secret": "hidden"}', ${JSON.stringify({ message: error })}, 'key', now(), now())
    returning id`)
  return `graveyard.${job!.id}`
}

/** A queue with a unique name. */
export function newQueue(run: JobQueue['run'], options: Partial<JobQueue> = {}): JobQueue {
  const name = `q-${randomUUID().slice(0, 8)}`
  return { name, concurrency: 4, timeout: 30, retries: 0, retryDelay: 0, ...options, run }
}

/** Settles when the signal is aborted, with its reason. */
export function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    if (signal.aborted) reject(signal.reason)
    signal.addEventListener('abort', () => reject(signal.reason))
  })
}
