import { sql } from 'drizzle-orm'
import { errors } from '../lib/errors.ts'
import type { Db } from '../lib/own-types.ts'
import { sqlState } from '../lib/postgres.ts'
import type { Reply, StoredReply } from './reply.ts'

/* The table of `ddl.ts`: a row per key, written in the transaction of what the request changes. */

/** A key as one caller uses it, and the request that it was used with. */
export interface Slot {
  readonly principal: string
  readonly key: string
  readonly fingerprint: Buffer
}

const LOCK_NOT_AVAILABLE = '55P03'
const PURGE_BATCH = 5_000

/**
 * Takes the key for this transaction; false when a request that is done has it. One that is still at work makes this wait,
 * since both want the same row.
 */
export async function claim(tx: Db, { principal, key, fingerprint }: Slot, lockTimeout: number): Promise<boolean> {
  await tx.execute(sql`select set_config('lock_timeout', ${`${lockTimeout}ms`}, true)`)
  try {
    const claimed = await tx.execute(sql`
      insert into idempotency_keys (principal, key, fingerprint, status, headers)
      values (${principal}, ${key}, ${fingerprint}, 0, '{}')
      on conflict do nothing
      returning 1`)
    return claimed.length === 1
  } catch (error) {
    if (sqlState(error) !== LOCK_NOT_AVAILABLE) throw error
    throw errors.conflict('A request with this Idempotency-Key is still being processed', error)
  }
}

export async function replay(tx: Db, { principal, key, fingerprint }: Slot): Promise<StoredReply> {
  const [kept] = await tx.execute<{ fingerprint: Buffer } & Required<StoredReply>>(sql`
    select fingerprint, status, headers, body from idempotency_keys where principal = ${principal} and key = ${key}`)
  if (kept === undefined) throw errors.conflict('The Idempotency-Key was given up while this request waited; try again')
  if (!fingerprint.equals(kept.fingerprint)) throw errors.idempotencyMismatch()
  return { status: kept.status, headers: { ...kept.headers, 'idempotent-replayed': 'true' }, body: kept.body }
}

export async function keep(tx: Db, { principal, key }: Slot, reply: Reply): Promise<void> {
  const { status, headers = {}, body, storedBody = body } = reply
  await tx.execute(sql`
    update idempotency_keys
    set status = ${status}, headers = ${JSON.stringify(headers)}::jsonb, body = ${JSON.stringify(storedBody ?? null)}::jsonb
    where principal = ${principal} and key = ${key}`)
}

/** Removes a little at a time, so that no statement holds many rows for long. */
export async function purgeOlder(db: Db, olderThan: Date): Promise<void> {
  let removed: readonly unknown[]
  do
    removed = await db.execute(sql`
      delete from idempotency_keys where ctid in (
        select ctid from idempotency_keys where created_at < ${olderThan.toISOString()}::timestamptz limit ${PURGE_BATCH}
      ) returning 1`)
  while (removed.length === PURGE_BATCH)
}
