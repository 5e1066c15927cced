import { randomBytes } from 'node:crypto'
import { and, asc, desc, eq, sql } from 'drizzle-orm'
import { auditCheckpoints, auditLogs, auditSeals, auditUnsealed } from '../../../drizzle/schema.ts'
import { type Db, statement } from '../base/db.ts'
import {
  type ChainedRow,
  type Checkpoint,
  type CheckpointSigner,
  chainedFields,
  GENESIS,
  linkDigest,
  personalDigestOf
} from './chain.ts'

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

/** The next rows to seal, in order. One that was removed before its turn has no fields. */
const selectWaiting = statement(db =>
  db
    .select({
      position: auditUnsealed.position,
      rowId: auditUnsealed.rowId,
      rowCreatedAt: exactInstant,
      ...chainedFields
    })
    .from(auditUnsealed)
    .leftJoin(
      auditLogs,
      and(eq(auditLogs.id, auditUnsealed.rowId), eq(auditLogs.createdAt, auditUnsealed.rowCreatedAt))
    )
    .orderBy(asc(auditUnsealed.position))
    .limit(BATCH)
    .prepare('select_unsealed')
)

/**
 * Adds rows to the chain, in the order in which they were written, as far as they are committed.
 *
 * @returns how many; fewer than a batch when there are no more
 */
export function sealBatch(db: Db): Promise<number> {
  return db.transaction(async tx => {
    if (!(await tryLockChain(tx))) return 0
    const waiting = await selectWaiting(tx).execute()
    if (waiting.length === 0) return 0
    await insertLinks(tx, linksOf(waiting, await lastLink(tx)))
    await forgetWaiting(
      tx,
      waiting.map(({ position }) => position)
    )
    return waiting.length
  })
}

type Waiting = Awaited<ReturnType<ReturnType<typeof selectWaiting>['execute']>>[number]

/** A link as it is sent to the database, its bytes in hexadecimal. */
interface Link {
  seq: number
  row_id: string
  row_created_at: string
  salt: string
  personal_digest: string
  digest: string
}

/** A row that was removed before its turn gets a link all the same, which then tells that it is missing. */
function linksOf(waiting: readonly Waiting[], last: { seq: number; digest: Buffer }): Link[] {
  let { seq, digest } = last
  return waiting.map(({ rowId, rowCreatedAt, ...row }) => {
    seq += 1
    const salt = randomBytes(SALT_BYTES)
    const personalDigest = isThere(row) ? personalDigestOf(row, salt) : GENESIS
    if (isThere(row)) digest = linkDigest(digest, seq, row, personalDigest)
    return {
      seq,
      row_id: rowId,
      row_created_at: rowCreatedAt,
      salt: salt.toString('hex'),
      personal_digest: personalDigest.toString('hex'),
      digest: digest.toString('hex')
    }
  })
}

function isThere(row: { id: string | null }): row is ChainedRow {
  return row.id !== null
}

/* A batch is one parameter: a statement with some for each row would be another one for every number of rows. */

async function insertLinks(tx: Db, links: readonly Link[]): Promise<void> {
  await tx.execute(sql`
    insert into ${auditSeals} (seq, row_id, row_created_at, salt, personal_digest, digest)
    select seq, row_id, row_created_at, decode(salt, 'hex'), decode(personal_digest, 'hex'), decode(digest, 'hex')
    from jsonb_to_recordset(${JSON.stringify(links)}::jsonb) as link (
      seq bigint, row_id uuid, row_created_at timestamptz, salt text, personal_digest text, digest text)`)
}

async function forgetWaiting(tx: Db, positions: readonly number[]): Promise<void> {
  await tx.execute(sql`
    delete from ${auditUnsealed}
    where position in (select value::bigint from jsonb_array_elements_text(${JSON.stringify(positions)}::jsonb))`)
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
