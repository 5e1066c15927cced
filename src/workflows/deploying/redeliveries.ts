import { and, eq, inArray } from 'drizzle-orm'
import { type Db, webhookDeliveries } from '../../../drizzle/schema.ts'
import type { Delivery, Github } from '../../../integrations/github/index.ts'
import type { JobQueue } from '../../../plugins/jobs/port.ts'

const MINUTE = 60_000
const HOUR = 60 * MINUTE

export interface RedeliverySettings {
  readonly db: () => Db
  readonly github: Pick<Github, 'deliveries' | 'redeliver'>
  /** Hours back to which deliveries are looked after; GitHub repeats none that is older than three days. */
  readonly hours?: number
}

/** Milliseconds since an attempt after which its delivery is asked for again; twice as long after each. */
const FIRST_PAUSE = 2 * MINUTE
/** Of one delivery. A day of attempts at most: what fails for longer fails for another reason than an outage. */
const MOST_ATTEMPTS = 10
/** Deliveries that are asked for in one run. */
const MOST_REQUESTS = 100

/**
 * Asks GitHub for the deliveries that did not get here: it makes one attempt of its own accord. How often each was tried,
 * and when, is in GitHub's list, so that nothing has to be remembered here.
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
      if (missing.length > 0) log.info({ missing: missing.length, requested }, 'webhooks asked for again')
    }
  }
}

/** The last attempt of each delivery that has always failed and may be tried again by now, the earliest first. */
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

/** Some have come, and only our answer was lost. */
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
