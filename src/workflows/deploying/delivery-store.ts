import type { Jobs } from '../../../plugins/jobs/port.ts'
import type { Delivery, DeliveryStore } from '../../../plugins/webhooks/index.ts'
import type { Db } from '../../domain/base/db.ts'
import { type DeliveryKey, keepDeliveries, type NewDelivery } from '../../domain/github/webhooks.ts'

/** Maximum number of deliveries per write. */
const BATCH = 100

interface Waiting {
  readonly delivery: NewDelivery
  readonly settle: PromiseWithResolvers<'new' | 'known'>
}

/**
 * Stores deliveries in the database, in one transaction with the jobs that process them. Each source has its own queue,
 * such as `github-webhook`. Deliveries that arrive during a write are batched into the next one, so a burst takes few
 * commits and a single connection.
 */
export function deliveryStore(db: () => Db, jobs: () => Pick<Jobs, 'send'>): DeliveryStore {
  const waiting: Waiting[] = []
  let isWriting = false

  async function write(batch: readonly Waiting[]): Promise<void> {
    try {
      const kept = await db().transaction(async tx => {
        const keys = await keepDeliveries(tx, withoutRepeats(batch))
        await Promise.all(keys.map(key => jobs().send(tx, `${key.source}-webhook`, key)))
        return new Set(keys.map(textOf))
      })
      for (const { delivery, settle } of batch) settle.resolve(kept.delete(textOf(delivery)) ? 'new' : 'known')
    } catch (error) {
      for (const { settle } of batch) settle.reject(error)
    }
  }

  async function writeAll(): Promise<void> {
    isWriting = true
    while (waiting.length > 0) await write(waiting.splice(0, BATCH))
    isWriting = false
  }

  return {
    keep(delivery: Delivery) {
      const settle = Promise.withResolvers<'new' | 'known'>()
      waiting.push({ delivery: { ...delivery, source: delivery.source as NewDelivery['source'] }, settle })
      if (!isWriting) void writeAll()
      return settle.promise
    }
  }
}

function withoutRepeats(batch: readonly Waiting[]): NewDelivery[] {
  return [...new Map(batch.map(({ delivery }) => [textOf(delivery), delivery])).values()]
}

const textOf = ({ source, deliveryId }: DeliveryKey) => `${source} ${deliveryId}`
