import { sql } from 'drizzle-orm'
import { causesOf, errors } from '../lib/errors.ts'
import type { Db } from '../lib/own-types.ts'
import { sqlState } from '../lib/postgres.ts'
import type { KeptReply, Reply } from './reply.ts'

/* The table of `ddl.ts`: a row per key, written in the transaction of what the request changes. */

/** An Idempotency-Key of one caller. */
export interface Slot {
  readonly principal: string
  readonly key: string
}

const LOCK_NOT_AVAILABLE = '55P03'
const PURGE_BATCH = 5_000

/**
 * Claims the key for this transaction; false if a finished request has it. Waits for a request that is still in
 * progress, since both need the same row.
 */
export async function claim(
  tx: Db,
  { principal, key }: Slot,
  fingerprint: Buffer,
  lockTimeout: number
): Promise<boolean> {
  await tx.execute(sql`select set_config('lock_timeout', ${`${lockTimeout}ms`}, true)`)
  try {
    const claimed = await tx.execute(sql`
      insert into idempotency_keys (principal, key, fingerprint, status, headers)
      values (${principal}, ${key}, ${fingerprint}, 0, '{}')
      on conflict do nothing
      returning 1`)
    return claimed.length === 1
  } catch (error) {
    if (sqlState(error) !== LOCK_NOT_AVAILABLE || !waitedForRow(error)) throw error
    throw errors.conflict('A request with this Idempotency-Key is still being processed', error)
  }
}

export async function findKept(tx: Db, { principal, key }: Slot): Promise<KeptReply & { fingerprint: Buffer }> {
  const [kept] = await tx.execute<Required<KeptReply> & { fingerprint: Buffer }>(sql`
    select fingerprint, status, headers, body, subject from idempotency_keys where principal = ${principal} and key = ${key}`)
  if (kept === undefined)
    throw errors.conflict('The first request with this Idempotency-Key failed while this one waited; try again')
  return kept
}

export async function keep(tx: Db, { principal, key }: Slot, reply: Reply): Promise<void> {
  const { status, headers = {}, body, storedBody = body, subject = null } = reply
  await tx.execute(sql`
    update idempotency_keys
    set status = ${status}, subject = ${subject}, headers = ${JSON.stringify(headers)}::jsonb, body = ${JSON.stringify(storedBody ?? null)}::jsonb
    where principal = ${principal} and key = ${key}`)
}

/** Deletes in batches, so that no statement locks many rows for long. */
export async function purgeOlder(db: Db, olderThan: Date): Promise<void> {
  let removed: readonly unknown[]
  do
    removed = await db.execute(sql`
      delete from idempotency_keys where ctid in (
        select ctid from idempotency_keys where created_at < ${olderThan.toISOString()}::timestamptz limit ${PURGE_BATCH}
      ) returning 1`)
  while (removed.length === PURGE_BATCH)
}

/** PostgreSQL names the row that was waited for. If the whole table is locked, the key may be unused. */
const waitedForRow = (error: unknown): boolean => causesOf(error).some(cause => 'where' in cause)
