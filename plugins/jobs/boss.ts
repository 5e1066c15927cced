import type { PgBoss, QueueResult } from 'pg-boss'
import type { Db } from '../lib/own-types.ts'
import { type Adapt, type Channel, overDrizzle, overPool, type Postgres } from './adapter.ts'
import type { JobQueue } from './port.ts'

export interface BossSettings extends Channel {
  db: Db
  postgres: Postgres
  queues: readonly JobQueue[]
  /** Days for which a job that is over is kept. */
  keepFinished: number
  onError(error: unknown): void
  onWarning(message: string, data: unknown): void
}

/** pg-boss with our queues in it. */
export interface Boss {
  readonly boss: PgBoss
  /** What a call has as its `db` to be part of a transaction of ours. */
  within(tx: Db): ReturnType<typeof overDrizzle>
}

const MINUTE = 60
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR
/** Between an attempt's own end and the one that the sweep of pg-boss makes of it, should all else have failed. */
const LAST_RESORT = 15 * MINUTE
/** A job that has waited for so long is dropped by the sweep; no closure is that long. */
const KEEP_WAITING = 90 * DAY
const MAX_RETRY_DELAY = HOUR

/**
 * Brings pg-boss's schema and our queues up to this version, and starts its housekeeping. It may run on several instances
 * at once, and again after it has failed.
 *
 * pg-boss keeps the jobs; who works on them and for how long is decided here. Its statistics are nobody's, and flows are
 * not used: what it does by itself is cut down to the daily sweep and to the indexes of its upgrades.
 */
export async function openBoss(settings: BossSettings): Promise<Boss> {
  // Not at the top: with all that comes with it, it takes a tenth of a start, which nothing else has to wait for.
  const { PgBoss, fromDrizzle } = await import('pg-boss')
  const boss = new PgBoss({
    db: overPool(settings.db, settings.postgres, fromDrizzle, settings),
    useListenNotify: true,
    schedule: false,
    registerInstance: false,
    reindex: false,
    monitorVacuum: false,
    superviseIntervalSeconds: HOUR,
    monitorIntervalSeconds: DAY,
    flowIntervalSeconds: DAY
  })
  boss.on('error', settings.onError)
  boss.on('warning', ({ message, data }) => settings.onWarning(message, data))
  try {
    await boss.start()
    await ensureQueues(boss, settings)
  } catch (error) {
    await boss.stop({ graceful: false, close: false })
    throw error
  }
  return { boss, within: tx => overDrizzle(tx, fromDrizzle as Adapt) }
}

async function ensureQueues(boss: PgBoss, { queues, keepFinished }: BossSettings): Promise<void> {
  const names = queues.map(({ name }) => name)
  const existing = new Map(names.length > 0 ? (await boss.getQueues(names)).map(queue => [queue.name, queue]) : [])
  for (const queue of queues) {
    const policy = policyOf(queue)
    const options = optionsOf(queue, keepFinished)
    const found = existing.get(queue.name)
    if (found === undefined) await boss.createQueue(queue.name, { policy, ...options })
    else if (found.policy !== policy)
      throw new Error(`the jobs of queue "${queue.name}" were sent as ${found.policy}; give the queue another name`)
    else if (!isSame(found, options)) await boss.updateQueue(queue.name, options)
  }
}

function policyOf({ serial, coalesced, schedule }: JobQueue): 'standard' | 'singleton' | 'stately' {
  if (coalesced || schedule !== undefined) return 'stately'
  return serial ? 'singleton' : 'standard'
}

function optionsOf({ timeout, retries, retryDelay }: JobQueue, keepFinished: number) {
  return {
    retryLimit: retries,
    retryDelay,
    retryBackoff: true,
    retryDelayMax: MAX_RETRY_DELAY,
    expireInSeconds: Math.ceil(timeout) + LAST_RESORT,
    retentionSeconds: KEEP_WAITING,
    deleteAfterSeconds: keepFinished * DAY,
    notify: true
  }
}

const isSame = (found: QueueResult, options: ReturnType<typeof optionsOf>): boolean =>
  Object.entries(options).every(([key, value]) => found[key as keyof QueueResult] === value)

/** How many jobs a call has touched, which pg-boss answers and its types keep quiet about. */
export const affectedBy = (response: object): number => (response as { affected: number }).affected
