import { randomBytes } from 'node:crypto'
import { and, asc, desc, eq, inArray, sql } from 'drizzle-orm'
import type { PgInsertValue } from 'drizzle-orm/pg-core'
import { auditCheckpoints, auditLogs, auditSeals, auditUnsealed } from '../../drizzle/schema.ts'
import {
  type ChainedRow,
  type Checkpoint,
  type CheckpointSigner,
  chainedFields,
  GENESIS,
  linkDigest,
  personalDigestOf
} from './audit-chain.ts'
import type { Db } from './db.ts'

const BATCH = 500
const SALT_BYTES = 16

/** One at a time changes the chain or what it vouches for: the sealer, erasure and retention, on any instance. */
const CHAIN_LOCK = sql`hashtext('rhone.audit-chain')`

/** As text, because a Date would lose the microseconds. */
const exactInstant = sql<string>`${auditUnsealed.rowCreatedAt}::text`

/** Whether this transaction has the chain now; another one that has it will do what there is to do. */
export async function tryLockChain(tx: Db): Promise<boolean> {
  const [row] = await tx.execute<{ taken: boolean }>(sql`select pg_try_advisory_xact_lock(${CHAIN_LOCK}) as taken`)
  return row?.taken === true
}

export async function lockChain(tx: Db): Promise<void> {
  await tx.execute(sql`select pg_advisory_xact_lock(${CHAIN_LOCK})`)
}

/** Whether there are rows to seal. Asked often, and answered from one page of a table that is nearly always empty. */
export async function hasUnsealed(db: Db): Promise<boolean> {
  const [row] = await db.select({ position: auditUnsealed.position }).from(auditUnsealed).limit(1)
  return row !== undefined
}

/**
 * Adds rows to the chain, in the order in which they were written, as far as they are committed.
 *
 * @returns how many; fewer than a batch when there are no more
 */
export function sealBatch(db: Db): Promise<number> {
  return db.transaction(async tx => {
    if (!(await tryLockChain(tx))) return 0
    const waiting = await tx
      .select({ position: auditUnsealed.position, rowId: auditUnsealed.rowId, rowCreatedAt: exactInstant })
      .from(auditUnsealed)
      .orderBy(asc(auditUnsealed.position))
      .limit(BATCH)
    if (waiting.length === 0) return 0
    const positions = waiting.map(({ position }) => position)
    const rows = await unsealedRows(tx, positions)
    await tx.insert(auditSeals).values(linksOf(rows, waiting, await lastLink(tx)))
    await tx.delete(auditUnsealed).where(inArray(auditUnsealed.position, positions))
    return waiting.length
  })
}

async function unsealedRows(tx: Db, positions: number[]): Promise<Map<string, ChainedRow>> {
  const rows = await tx
    .select(chainedFields)
    .from(auditUnsealed)
    .innerJoin(
      auditLogs,
      and(eq(auditLogs.id, auditUnsealed.rowId), eq(auditLogs.createdAt, auditUnsealed.rowCreatedAt))
    )
    .where(inArray(auditUnsealed.position, positions))
  return new Map(rows.map(row => [row.id, row]))
}

/** A row that was removed before its turn gets a link all the same, which then tells that it is missing. */
function linksOf(
  rows: ReadonlyMap<string, ChainedRow>,
  waiting: readonly { rowId: string; rowCreatedAt: string }[],
  last: { seq: number; digest: Buffer }
): PgInsertValue<typeof auditSeals>[] {
  let { seq, digest } = last
  return waiting.map(({ rowId, rowCreatedAt }) => {
    seq += 1
    const salt = randomBytes(SALT_BYTES)
    const row = rows.get(rowId)
    const personalDigest = row === undefined ? GENESIS : personalDigestOf(row, salt)
    digest = row === undefined ? digest : linkDigest(digest, seq, row, personalDigest)
    return { seq, rowId, rowCreatedAt: sql`${rowCreatedAt}::timestamptz`, salt, personalDigest, digest }
  })
}

/** The end of the chain; of one that retention has cut to nothing, the checkpoint where it goes on. */
async function lastLink(tx: Db): Promise<{ seq: number; digest: Buffer }> {
  const [last] = await tx
    .select({ seq: auditSeals.seq, digest: auditSeals.digest })
    .from(auditSeals)
    .orderBy(desc(auditSeals.seq))
    .limit(1)
  return last ?? (await lastCheckpoint(tx)) ?? { seq: 0, digest: GENESIS }
}

async function lastCheckpoint(tx: Db) {
  const [last] = await tx.select().from(auditCheckpoints).orderBy(desc(auditCheckpoints.seq)).limit(1)
  return last
}

/**
 * Signs the end of the chain, if it has grown and the last signature is older than `interval` milliseconds. Whoever
 * keeps what this returns somewhere else has proof of all that was sealed until then.
 */
export function signCheckpoint(db: Db, signer: CheckpointSigner, interval: number) {
  return db.transaction(async tx => {
    if (!(await tryLockChain(tx))) return undefined
    const [last, end] = [await lastCheckpoint(tx), await lastLink(tx)]
    if (end.seq <= (last?.seq ?? 0)) return undefined
    if (last !== undefined && Date.now() - last.createdAt.getTime() < interval) return undefined
    return writeCheckpoint(tx, signer, { ...end, retainedFrom: last?.retainedFrom ?? null })
  })
}

export async function writeCheckpoint(tx: Db, signer: CheckpointSigner, checkpoint: Checkpoint) {
  const signed = { ...checkpoint, ...signer.sign(checkpoint) }
  await tx.insert(auditCheckpoints).values(signed).onConflictDoUpdate({ target: auditCheckpoints.seq, set: signed })
  return signed
}
