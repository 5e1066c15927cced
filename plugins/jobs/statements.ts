import { type SQL, sql } from 'drizzle-orm'
import type { Db } from '../lib/own-types.ts'
import type { JobFilters, JobPosition, JobState, ListedJob } from './port.ts'

/*
 * Our own statements on pg-boss's table: they cover all queues at once, where pg-boss handles one at a time. pg-boss
 * documents the columns; its version is pinned, and test/plugins/jobs.test.ts runs all of these statements.
 */

/** One claim of a job. Each claim of a job has a different `retryCount`, so a late one cannot be mistaken for it. */
export interface Claim {
  readonly name: string
  readonly id: string
  readonly retryCount: number
}

const JOB = sql.raw('pgboss.job')
const keyOf = ({ name, id, retryCount }: Claim): string => `${name}.${id}.${retryCount}`
const isClaimed = sql`job.state = 'active' and job.name = claim.name and job.id = claim.id
  and job.retry_count = claim."retryCount"`
const asRows = (claims: readonly Claim[]): SQL =>
  sql`json_to_recordset(${JSON.stringify(claims)}::text::json) as claim (name text, id uuid, "retryCount" integer)`

export async function isInstalled(db: Db): Promise<boolean> {
  const [row] = await db.execute<{ table: string | null }>(sql`select to_regclass('pgboss.version')::text as "table"`)
  return row?.table != null
}

/** Returns the queues that have a due job; its key may still hold that job back. */
export async function dueQueues(db: Db, names: readonly string[]): Promise<string[]> {
  const rows = await db.execute<{ name: string }>(sql`
    select name from json_array_elements_text(${JSON.stringify(names)}::text::json) as name
    where exists (
      select from ${JOB} job
      where job.name = name.name and job.state < 'active' and not job.blocked and job.start_after <= now()
    )`)
  return rows.map(({ name }) => name)
}

/** @returns the claims that no longer hold: the job was cancelled, or counted as lost */
export async function renewClaims<Held extends Claim>(db: Db, claims: readonly Held[]): Promise<Held[]> {
  const rows = await db.execute<Record<string, unknown> & Claim>(sql`
    update ${JOB} job set heartbeat_on = now() from ${asRows(claims)} where ${isClaimed}
    returning job.name, job.id, job.retry_count as "retryCount"`)
  const renewed = new Set(rows.map(keyOf))
  return claims.filter(claim => !renewed.has(keyOf(claim)))
}

/** Claims that their instances have not renewed for `lease` seconds. */
export async function lostClaims(db: Db, lease: number): Promise<Claim[]> {
  return db.execute<Record<string, unknown> & Claim>(sql`
    select name, id, retry_count as "retryCount" from ${JOB}
    where state = 'active' and heartbeat_on < now() - ${lease}::float8 * interval '1 second' limit 100`)
}

/** Makes a job that has just failed due for its retry immediately. */
export async function retryNow(db: Db, { name, id, retryCount }: Claim): Promise<void> {
  await db.execute(sql`
    update ${JOB} set start_after = now()
    where name = ${name} and id = ${id} and retry_count = ${retryCount} and state = 'retry'`)
}

/** Puts a job back as if it had not been claimed. @returns whether the claim still held */
export async function returnClaim(db: Db, claim: Claim): Promise<boolean> {
  const rows = await db.execute(sql`
    update ${JOB} job set state = 'created', started_on = null, heartbeat_on = null
    from ${asRows([claim])} where ${isClaimed} returning job.id`)
  return rows.length > 0
}

export async function stateOf(db: Db, { name, id }: Pick<Claim, 'name' | 'id'>): Promise<JobState | null> {
  const [row] = await db.execute<{ state: string }>(sql`select state from ${JOB} where name = ${name} and id = ${id}`)
  return row === undefined ? null : OURS[row.state as keyof typeof OURS]
}

export async function notify(db: Db, channel: string, payload: string): Promise<void> {
  await db.execute(sql`select pg_notify(${channel}, ${payload})`)
}

export async function countWaiting(db: Db): Promise<Map<string, number>> {
  const rows = await db.execute<{ name: string; waiting: number }>(sql`
    select name, count(*)::integer as waiting from ${JOB} where state in ('created', 'retry') group by name`)
  return new Map(rows.map(({ name, waiting }) => [name, waiting]))
}

const OURS = {
  created: 'waiting',
  retry: 'retrying',
  active: 'active',
  completed: 'completed',
  cancelled: 'cancelled',
  failed: 'dead'
} as const satisfies Record<string, JobState>
const THEIRS = Object.fromEntries(Object.entries(OURS).map(([theirs, ours]) => [ours, theirs])) as Record<
  JobState,
  keyof typeof OURS
>

interface Row extends Record<string, unknown> {
  name: string
  id: string
  state: keyof typeof OURS
  key: string | null
  retryCount: number
  error: string | null
  createdAt: string
  startedAt: string | null
  finishedAt: string | null
  at: string
  tie: string
}

/** Takes the newest jobs of each queue, by the index in that order, and then the newest of these. */
export async function listJobs(
  db: Db,
  { queue, state }: JobFilters,
  limit: number,
  after?: JobPosition
): Promise<ListedJob[]> {
  const tie = sql`md5(job.name || job.id)::uuid`
  const conditions = [
    sql`job.name = queue.name`,
    ...(state === undefined ? [] : [sql`job.state = ${THEIRS[state]}::pgboss.job_state`]),
    ...(after === undefined
      ? []
      : [
          sql`(job.created_on, ${tie}) < (timestamptz 'epoch' + ${after.at}::bigint * interval '1 microsecond', ${after.id}::uuid)`
        ])
  ]
  const rows = await db.execute<Row>(sql`
    select listed.* from pgboss.queue cross join lateral (
      select job.name, job.id, job.state, job.singleton_key as key, job.retry_count as "retryCount",
        case when job.state in ('retry', 'failed') then job.output ->> 'message' end as error,
        job.created_on as "createdAt", job.started_on as "startedAt", job.completed_on as "finishedAt",
        (extract(epoch from job.created_on) * 1000000)::bigint::text as at, ${tie} as tie
      from ${JOB} job where ${sql.join(conditions, sql` and `)}
      order by job.created_on desc, tie desc limit ${limit}
    ) listed
    where ${queue === undefined ? sql`true` : sql`queue.name = ${queue}`}
    order by listed."createdAt" desc, listed.tie desc limit ${limit}`)
  return rows.map(toListed)
}

function toListed(row: Row): ListedJob {
  const time = (text: string | null) => (text === null ? null : new Date(text))
  return {
    id: `${row.name}.${row.id}`,
    queue: row.name,
    state: OURS[row.state],
    key: row.key,
    attempt: row.startedAt === null ? row.retryCount : row.retryCount + 1,
    error: row.error,
    createdAt: new Date(row.createdAt),
    startedAt: time(row.startedAt),
    finishedAt: time(row.finishedAt),
    position: { at: row.at, id: row.tie }
  }
}

/** @returns undefined if this cannot be the id of a job */
export function parseJobId(id: string): Pick<Claim, 'name' | 'id'> | undefined {
  const [, name, uuid] = JOB_ID.exec(id) ?? []
  return name === undefined || uuid === undefined ? undefined : { name, id: uuid }
}

const JOB_ID = /^([a-z][a-z0-9-]*)\.([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$/
