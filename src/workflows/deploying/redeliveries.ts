import { and, eq, inArray } from 'drizzle-orm'
import { type Db, webhookDeliveries } from '../../../drizzle/schema.ts'
import type { Delivery, Github } from '../../../integrations/github/index.ts'
import type { JobQueue } from '../../../plugins/jobs/port.ts'

const MINUTE = 60_000
const HOUR = 60 * MINUTE

export interface RedeliverySettings {
  readonly db: () => Db
  readonly github: Pick<Github, 'deliveries' | 'redeliver'>
  /** How many hours back to look for failed deliveries; GitHub repeats none older than three days. */
  readonly hours?: number
}

/** Milliseconds from the first attempt to the next request; doubles after each attempt. */
const FIRST_PAUSE = 2 * MINUTE
/** Attempts per delivery, spread over a day at most. What fails for longer is not failing because of an outage. */
const MOST_ATTEMPTS = 10
/** Deliveries requested per run. */
const MOST_REQUESTS = 100

/**
 * Asks GitHub to repeat deliveries that did not arrive, since it makes only one attempt by itself. GitHub's list holds
 * the number and time of attempts, so no state is kept here.
 */
export function webhookRedeliveries({ db, github, hours = 24 }: RedeliverySettings): JobQueue {
  return {
    name: 'webhook-redeliveries',
    concurrency: 1,
    timeout: 300,
    retries: 0,
    retryDelay: 60,
    schedule: '*/5 * * * *',
    async run(_data, { signal, log }) {
      const since = new Date(Date.now() - Math.min(hours, 71) * HOUR)
      const missing = await withoutReceived(db(), dueFor(await github.deliveries(since, signal), Date.now()))
      let requested = 0
      for (const { id } of missing.slice(0, MOST_REQUESTS)) {
        signal.throwIfAborted()
        if (await github.redeliver(id, signal)) requested++
      }
      if (missing.length > 0) log.info({ missing: missing.length, requested }, 'webhook redeliveries requested')
    }
  }
}

/** The last attempt of each delivery that never succeeded and is due for a retry, earliest first. */
export function dueFor(deliveries: readonly Delivery[], now: number): Delivery[] {
  const attempts = Map.groupBy(deliveries, ({ guid }) => guid)
  const due: Delivery[] = []
  for (const tried of attempts.values()) {
    if (tried.some(({ succeeded }) => succeeded) || tried.length >= MOST_ATTEMPTS) continue
    const last = tried.reduce((latest, attempt) => (attempt.deliveredAt > latest.deliveredAt ? attempt : latest))
    if (now - last.deliveredAt.getTime() >= FIRST_PAUSE * 2 ** (tried.length - 1)) due.push(last)
  }
  return due.sort((a, b) => a.deliveredAt.getTime() - b.deliveredAt.getTime())
}

/** Some deliveries arrived and only our reply was lost. */
async function withoutReceived(db: Db, deliveries: readonly Delivery[]): Promise<Delivery[]> {
  if (deliveries.length === 0) return []
  const guids = deliveries.map(({ guid }) => guid)
  const rows = await db
    .select({ guid: webhookDeliveries.deliveryId })
    .from(webhookDeliveries)
    .where(and(eq(webhookDeliveries.source, 'github'), inArray(webhookDeliveries.deliveryId, guids)))
  const received = new Set(rows.map(({ guid }) => guid))
  return deliveries.filter(({ guid }) => !received.has(guid))
}
