import { and, eq, or, sql } from 'drizzle-orm'
import { type WEBHOOK_OUTCOMES, type WebhookSource, webhookDeliveries } from '../../../drizzle/schema.ts'
import type { Db } from '../base/db.ts'

export type StoredDelivery = typeof webhookDeliveries.$inferSelect
export type DeliveryOutcome = (typeof WEBHOOK_OUTCOMES)[number]

export interface NewDelivery {
  readonly source: WebhookSource
  readonly deliveryId: string
  readonly event: string
  readonly payload: Buffer
}

export type DeliveryKey = Pick<NewDelivery, 'source' | 'deliveryId'>

/** A delivery that is still unprocessed this long after its arrival has lost its job. */
const LOST_AFTER = '1 hour'

/**
 * Stores deliveries, each once. If processing one has failed or its job is lost, it is retried when GitHub redelivers
 * it.
 *
 * @param deliveries distinct ones
 * @returns those to process
 */
export async function keepDeliveries(tx: Db, deliveries: readonly NewDelivery[]): Promise<DeliveryKey[]> {
  const { source, deliveryId, processedAt, outcome, receivedAt } = webhookDeliveries
  return tx
    .insert(webhookDeliveries)
    .values(inOneOrder(deliveries))
    .onConflictDoUpdate({
      target: [source, deliveryId],
      set: { receivedAt: sql`now()`, processedAt: null, outcome: null, error: null },
      setWhere: or(
        eq(outcome, 'failed'),
        sql`${processedAt} is null and ${receivedAt} < now() - ${LOST_AFTER}::interval`
      )
    })
    .returning({ source, deliveryId })
}

/** A fixed order, so that two instances storing the same deliveries cannot deadlock. */
function inOneOrder(deliveries: readonly NewDelivery[]): NewDelivery[] {
  return deliveries.toSorted((one, other) => (one.deliveryId < other.deliveryId ? -1 : 1))
}

/** Locks a delivery that is still to be processed until the transaction ends. */
export async function takeDelivery(tx: Db, key: DeliveryKey): Promise<StoredDelivery | undefined> {
  const [delivery] = await tx.select().from(webhookDeliveries).where(isDelivery(key)).for('no key update')
  const isDone = delivery?.outcome === 'processed' || delivery?.outcome === 'ignored'
  return isDone ? undefined : delivery
}

/** Records the outcome of a delivery, in the transaction of its effects. */
export async function settleDelivery(
  tx: Db,
  key: DeliveryKey,
  outcome: DeliveryOutcome,
  error: string | null = null
): Promise<void> {
  await tx.update(webhookDeliveries).set({ processedAt: sql`now()`, outcome, error }).where(isDelivery(key))
}

function isDelivery({ source, deliveryId }: DeliveryKey) {
  return and(eq(webhookDeliveries.source, source), eq(webhookDeliveries.deliveryId, deliveryId))
}
