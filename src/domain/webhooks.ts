import { and, eq, or, sql } from 'drizzle-orm'
import { type WEBHOOK_OUTCOMES, type WebhookSource, webhookDeliveries } from '../../drizzle/schema.ts'
import type { Db } from './db.ts'

export type StoredDelivery = typeof webhookDeliveries.$inferSelect
export type DeliveryOutcome = (typeof WEBHOOK_OUTCOMES)[number]

export interface NewDelivery {
  readonly source: WebhookSource
  readonly deliveryId: string
  readonly event: string
  readonly payload: Buffer
}

type DeliveryKey = Pick<NewDelivery, 'source' | 'deliveryId'>

/** So long after its arrival, a delivery that is still not processed has lost its job. */
const LOST_AFTER = '1 hour'

/**
 * Keeps a delivery, once. One that is known and that nothing came of, because its processing has failed or its job is
 * lost, is taken up again when it is delivered again.
 *
 * @returns whether it has to be processed
 */
export async function keepDelivery(tx: Db, delivery: NewDelivery): Promise<boolean> {
  const { source, deliveryId, processedAt, outcome, receivedAt } = webhookDeliveries
  const kept = await tx
    .insert(webhookDeliveries)
    .values(delivery)
    .onConflictDoUpdate({
      target: [source, deliveryId],
      set: { receivedAt: sql`now()`, processedAt: null, outcome: null, error: null },
      setWhere: or(
        eq(outcome, 'failed'),
        sql`${processedAt} is null and ${receivedAt} < now() - ${LOST_AFTER}::interval`
      )
    })
    .returning({ deliveryId })
  return kept.length === 1
}

/** A delivery that is still to be processed; nobody else processes it until the transaction ends. */
export async function takeDelivery(tx: Db, key: DeliveryKey): Promise<StoredDelivery | undefined> {
  const [delivery] = await tx.select().from(webhookDeliveries).where(isDelivery(key)).for('no key update')
  const isDone = delivery?.outcome === 'processed' || delivery?.outcome === 'ignored'
  return isDone ? undefined : delivery
}

/** Says what came of a delivery, in the transaction of all that came of it. */
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
