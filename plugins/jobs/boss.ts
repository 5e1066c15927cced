import type { PgBoss, QueueResult } from 'pg-boss'
import type { Db } from '../lib/own-types.ts'
import { type Adapt, type Channel, overDrizzle, overPool, type Postgres } from './adapter.ts'
import type { JobQueue } from './port.ts'

export interface BossSettings extends Channel {
  db: Db
  postgres: Postgres
  queues: readonly JobQueue[]
  /** Days to keep a finished job. */
  keepFinished: number
  onError(error: unknown): void
  onWarning(message: string, data: unknown): void
}

/** pg-boss with our queues. */
export interface Boss {
  readonly boss: PgBoss
  /** The `db` option that makes a call part of a transaction of ours. */
  within(tx: Db): ReturnType<typeof overDrizzle>
}

const MINUTE = 60
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR
/** From an attempt's own timeout to its expiry by pg-boss's sweep, in seconds, in case all else fails. */
const LAST_RESORT = 15 * MINUTE
/** The sweep drops a job that has waited this many seconds; no maintenance lasts that long. */
const KEEP_WAITING = 90 * DAY
const MAX_RETRY_DELAY = HOUR

/**
 * Upgrades pg-boss's schema and our queues to this version, and starts its housekeeping. Safe to run on several
 * instances at once, and again after a failure.
 *
 * pg-boss stores the jobs; which instance works on them, and for how long, is decided here. pg-boss's statistics and
 * flows are unused, so its own activity is reduced to the daily sweep and the indexes of its upgrades.
 */
export async function openBoss(settings: BossSettings): Promise<Boss> {
  // Imported lazily: loading it takes a tenth of a start, and nothing else needs to wait for it.
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
      throw new Error(`queue "${queue.name}" exists with the policy ${found.policy}; use another name for the queue`)
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

/** Returns how many jobs a call affected. pg-boss returns this number, but its types omit it. */
export const affectedBy = (response: object): number => (response as { affected: number }).affected
