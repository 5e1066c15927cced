import { randomBytes } from 'node:crypto'
import { and, asc, desc, eq, isNotNull, sql } from 'drizzle-orm'
import { auditCheckpoints, auditLogs, auditSeals, auditUnsealed } from '../../../drizzle/schema.ts'
import { type Db, statement } from '../base/db.ts'
import { microseconds } from '../base/page.ts'
import {
  type ChainedRow,
  chainedFields,
  GENESIS,
  type LinkFacts,
  linkDigest,
  linkText,
  personalDigestOf,
  rowDigestOf,
  rowText
} from './chain.ts'
import type { AuditKeys, Checkpoint } from './keys.ts'

/** Rows sealed at once. Their digests are computed in one turn of the event loop: a few milliseconds. */
const BATCH = 200
const SALT_BYTES = 16

/** Serializes all changes of the chain and of sealed rows, over all instances: sealing, erasure and retention. */
const CHAIN_LOCK = sql`hashtext('rhone.audit-chain')`

/** Takes the lock if it is free. Otherwise its holder does the work. */
async function tryLockChain(tx: Db): Promise<boolean> {
  const [row] = await tx.execute<{ taken: boolean }>(sql`select pg_try_advisory_xact_lock(${CHAIN_LOCK}) as taken`)
  return row?.taken === true
}

export async function lockChain(tx: Db): Promise<void> {
  await tx.execute(sql`select pg_advisory_xact_lock(${CHAIN_LOCK})`)
}

/** Whether there are rows to seal. Cheap: it reads one page of a table that is nearly always empty. */
export async function hasUnsealed(db: Db): Promise<boolean> {
  const [row] = await db.select({ position: auditUnsealed.position }).from(auditUnsealed).limit(1)
  return row !== undefined
}

/**
 * How many seconds the oldest unsealed row has waited; 0 if none waits. One or two are normal. More means that sealing
 * is blocked, and a row that is removed before it is sealed leaves no trace.
 */
export async function unsealedAge(db: Db): Promise<number> {
  const age = sql<number>`greatest(0, extract(epoch from clock_timestamp() - ${auditUnsealed.notedAt}))::float8`
  const [oldest] = await db.select({ age }).from(auditUnsealed).orderBy(asc(auditUnsealed.position)).limit(1)
  return oldest?.age ?? 0
}

/** The next rows to seal, in order. A row that was removed before it was sealed has no fields. */
const selectWaiting = statement(db =>
  db
    .select({
      position: auditUnsealed.position,
      rowId: auditUnsealed.rowId,
      rowAt: microseconds(auditUnsealed.rowCreatedAt).as('row_at'),
      mac: auditLogs.mac,
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
 * Adds one batch of committed rows to the chain, in the order in which they were written.
 *
 * @returns the number of rows; 0 when none is left, or when another transaction holds the chain
 */
export function sealBatch(db: Db, keys: AuditKeys): Promise<number> {
  return db.transaction(async tx => ((await tryLockChain(tx)) ? sealWaiting(tx, keys) : 0))
}

/**
 * Adds the rows that wait now to the chain. Stops at a batch that is not full: under load a few rows are always new,
 * and as a batch of their own each would cost more than in the next call's.
 */
export async function sealAll(db: Db, keys: AuditKeys, signal: AbortSignal): Promise<void> {
  while (!signal.aborted && (await sealBatch(db, keys)) === BATCH);
}

/** Like {@link sealBatch}, for a transaction that holds the chain. */
export async function sealWaiting(tx: Db, keys: AuditKeys): Promise<number> {
  const waiting = await selectWaiting(tx).execute()
  if (waiting.length === 0) return 0
  await insertLinks(tx, linksOf(waiting, await endOfChain(tx, keys), keys))
  await forgetWaiting(
    tx,
    waiting.map(({ position }) => position)
  )
  return waiting.length
}

type Waiting = Awaited<ReturnType<ReturnType<typeof selectWaiting>['execute']>>[number]

interface Link extends LinkFacts {
  salt: Buffer
  personalDigest: Buffer
  digest: Buffer
  mac: Buffer | null
}

/**
 * Links for the rows as they are now. A row that was removed before it was sealed gets a link that records it as
 * missing.
 */
function linksOf(waiting: readonly Waiting[], end: ChainEnd, keys: AuditKeys): Link[] {
  let { seq, digest, isAuthentic: isContinuous } = end
  const salts = randomBytes(SALT_BYTES * waiting.length)
  return waiting.map((row, index) => {
    const { rowId, rowAt, mac: rowMac } = row
    seq += 1
    const salt = salts.subarray(SALT_BYTES * index, SALT_BYTES * (index + 1))
    const personalDigest = isThere(row) ? personalDigestOf(row, salt) : GENESIS
    const rowDigest = isThere(row) ? rowDigestOf(row, personalDigest) : GENESIS
    const isGenuine = isThere(row) && keys.isMac('row', rowText(row), rowMac)
    const facts = { seq, rowId, rowAt, isGenuine, isContinuous, rowDigest }
    digest = linkDigest(digest, facts)
    isContinuous = true
    const mac = index === waiting.length - 1 ? keys.mac('link', linkText(seq, digest)) : null
    return { ...facts, salt, personalDigest, digest, mac }
  })
}

function isThere(row: { id: string | null }): row is ChainedRow {
  return row.id !== null
}

/* A batch is one JSON parameter, so that the statement is the same for every number of rows. */

async function insertLinks(tx: Db, links: readonly Link[]): Promise<void> {
  const rows = links.map(({ seq, rowId, rowAt, isGenuine, isContinuous, ...bytes }) => ({
    seq,
    rowId,
    rowAt,
    isGenuine,
    isContinuous,
    salt: hex(bytes.salt),
    personalDigest: hex(bytes.personalDigest),
    rowDigest: hex(bytes.rowDigest),
    digest: hex(bytes.digest),
    mac: bytes.mac && hex(bytes.mac)
  }))
  await tx.execute(sql`
    insert into ${auditSeals}
      (seq, row_id, row_created_at, salt, personal_digest, row_digest, is_genuine, is_continuous, mac, digest)
    select seq, "rowId", timestamptz 'epoch' + "rowAt" * interval '1 microsecond', decode(salt, 'hex'),
      decode("personalDigest", 'hex'), decode("rowDigest", 'hex'), "isGenuine", "isContinuous", decode(mac, 'hex'),
      decode(digest, 'hex')
    from jsonb_to_recordset(${JSON.stringify(rows)}::jsonb) as link (
      seq bigint, "rowId" uuid, "rowAt" bigint, salt text, "personalDigest" text, "rowDigest" text, "isGenuine" boolean,
      "isContinuous" boolean, mac text, digest text)`)
}

const hex = (bytes: Buffer) => bytes.toString('hex')

async function forgetWaiting(tx: Db, positions: readonly number[]): Promise<void> {
  await tx.execute(sql`
    delete from ${auditUnsealed}
    where position in (select value::bigint from jsonb_array_elements_text(${JSON.stringify(positions)}::jsonb))`)
}

interface ChainEnd {
  seq: number
  digest: Buffer
  /** Whether a key of the ring has authenticated the end. */
  isAuthentic: boolean
}

/** The end of the chain: its last link, or the last checkpoint when retention has removed every link. */
async function endOfChain(tx: Db, keys: AuditKeys): Promise<ChainEnd> {
  const [link] = await tx
    .select({ seq: auditSeals.seq, digest: auditSeals.digest, mac: auditSeals.mac })
    .from(auditSeals)
    .orderBy(desc(auditSeals.seq))
    .limit(1)
  const checkpoint = await lastCheckpoint(tx)
  if (link === undefined && checkpoint === undefined) return { seq: 0, digest: GENESIS, isAuthentic: true }
  const { seq, digest } = link ?? checkpoint!
  const isLink = link !== undefined && keys.isMac('link', linkText(seq, digest), link.mac)
  return { seq, digest, isAuthentic: isLink || isSignedBy(keys, checkpoint, seq, digest) }
}

type StoredCheckpoint = typeof auditCheckpoints.$inferSelect

async function lastCheckpoint(tx: Db): Promise<StoredCheckpoint | undefined> {
  const [last] = await tx.select().from(auditCheckpoints).orderBy(desc(auditCheckpoints.seq)).limit(1)
  return last
}

function isSignedBy(keys: AuditKeys, checkpoint: StoredCheckpoint | undefined, seq: number, digest: Buffer): boolean {
  if (checkpoint === undefined || checkpoint.seq !== seq || !checkpoint.digest.equals(digest)) return false
  return keys.verifyCheckpoint(checkpoint, checkpoint.keyId, checkpoint.signature) === true
}

/**
 * Signs the end of the chain if it has grown, is authentic, and the last signature is older than `interval`
 * milliseconds. A copy of the result kept elsewhere proves every row sealed until then.
 */
export function signCheckpoint(db: Db, keys: AuditKeys, interval: number) {
  return db.transaction(async tx => {
    if (!(await tryLockChain(tx))) return undefined
    const [last, { isAuthentic, ...end }] = [await lastCheckpoint(tx), await endOfChain(tx, keys)]
    if (!isAuthentic || end.seq <= (last?.seq ?? 0)) return undefined
    if (last !== undefined && Date.now() - last.createdAt.getTime() < interval) return undefined
    return writeCheckpoint(tx, keys, { ...end, retainedFrom: last?.retainedFrom ?? null })
  })
}

/** Re-signs the checkpoint at which retention last cut the chain, so that an older key can be removed from the ring. */
export function renewRetentionCheckpoint(db: Db, keys: AuditKeys): Promise<void> {
  return db.transaction(async tx => {
    await lockChain(tx)
    const [cut] = await tx
      .select()
      .from(auditCheckpoints)
      .where(isNotNull(auditCheckpoints.retainedFrom))
      .orderBy(asc(auditCheckpoints.seq))
      .limit(1)
    if (cut === undefined || cut.keyId === keys.currentId) return
    if (keys.verifyCheckpoint(cut, cut.keyId, cut.signature) !== true) return
    const { seq, digest, retainedFrom } = cut
    await writeCheckpoint(tx, keys, { seq, digest, retainedFrom })
  })
}

export async function writeCheckpoint(tx: Db, keys: AuditKeys, checkpoint: Checkpoint) {
  const signed = { ...checkpoint, ...keys.signCheckpoint(checkpoint) }
  await tx.insert(auditCheckpoints).values(signed).onConflictDoUpdate({ target: auditCheckpoints.seq, set: signed })
  return signed
}
