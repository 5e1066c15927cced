import { and, asc, eq, gt, sql } from 'drizzle-orm'
import { auditCheckpoints, auditLogs, auditSeals, auditUnsealed } from '../../../drizzle/schema.ts'
import type { Db } from '../base/db.ts'
import { microseconds } from '../base/page.ts'
import {
  type ChainedRow,
  chainedFields,
  GENESIS,
  linkDigest,
  linkText,
  plainLinkDigest,
  rowDigestOf,
  rowText
} from './chain.ts'
import { isIntact } from './erase.ts'
import type { AuditKeys } from './keys.ts'

export interface AuditProblem {
  kind:
    | 'missing'
    | 'changed'
    | 'moved'
    | 'added'
    | 'forged'
    | 'backdated'
    | 'erased'
    | 'unproven'
    | 'link missing'
    | 'checkpoint'
  /** The number of the link, if the problem is with one. */
  seq?: number
  rowId?: string
  message: string
}

export interface AuditReport {
  /** Rows that are unchanged since they were sealed. */
  intact: number
  /** Of these, rows whose personal data was erased. */
  erased: number
  /** Links whose rows were removed by retention. */
  retired: number
  /** Rows that are not sealed yet. */
  waiting: number
  /** The link of the newest checkpoint with a valid signature. */
  signedUpTo: number
  checkpoints: number
  problems: AuditProblem[]
  /** Whether there are more problems than listed. */
  truncated: boolean
}

const BATCH = 1_000
const MOST_PROBLEMS = 200

type Seal = typeof auditSeals.$inferSelect & { rowAt: string; row: ChainedRow | null }
type Tell = (problem: AuditProblem) => void

/**
 * Compares the audit log with its chain, row by row, in one snapshot of the database. Names each row that was changed,
 * removed, moved, forged or inserted.
 */
export function verifyAudit(db: Db, keys: AuditKeys): Promise<AuditReport> {
  return db.transaction(tx => walk(tx, keys), { isolationLevel: 'repeatable read', accessMode: 'read only' })
}

async function walk(tx: Db, keys: AuditKeys): Promise<AuditReport> {
  const report: AuditReport = {
    intact: 0,
    erased: 0,
    retired: 0,
    waiting: await tx.$count(auditUnsealed),
    signedUpTo: 0,
    checkpoints: 0,
    problems: [],
    truncated: false
  }
  const tell: Tell = problem => {
    if (report.problems.length < MOST_PROBLEMS) report.problems.push(problem)
    else report.truncated = true
  }
  const checkpoints = await readCheckpoints(tx, keys, tell)
  const cut = checkpoints.findLast(({ valid, retainedFrom }) => valid && retainedFrom !== null)
  const signed = new Map(checkpoints.map(checkpoint => [checkpoint.seq, checkpoint]))
  report.checkpoints = checkpoints.length

  let last = await beginning(tx, signed, tell)
  const proof = new Proof(last.seq, tell)
  for await (const seal of readSeals(tx)) {
    const { seq, row } = seal
    if (seq !== last.seq + 1)
      tell({ kind: 'link missing', seq: last.seq + 1, message: `links ${last.seq + 1} to ${seq - 1} are missing` })
    if (seal.isContinuous === false) proof.breaksBefore(seq)

    const problem = compare(seal, last.digest, cut?.retainedFrom ?? null, keys)
    if (problem !== undefined) tell(problem)
    else if (row === null) report.retired += 1
    else report.intact += 1
    if (row !== null && seal.salt === null) report.erased += 1

    const checkpoint = signed.get(seq)
    const isSigned = checkpoint?.digest.equals(seal.digest) === true
    if (checkpoint !== undefined && !isSigned)
      tell({
        kind: 'checkpoint',
        seq,
        message: `link ${seq} does not match its signature: it or an earlier link was forged`
      })
    if (checkpoint?.valid && isSigned) report.signedUpTo = seq
    if (report.signedUpTo === seq || keys.isMac('link', linkText(seq, seal.digest), seal.mac)) proof.reaches(seq)
    last = seal
  }
  proof.endsAt(last.seq)
  const newest = checkpoints.at(-1)
  if (newest !== undefined && newest.seq > last.seq)
    tell({ kind: 'link missing', seq: last.seq + 1, message: `links ${last.seq + 1} to ${newest.seq} are missing` })
  for (const problem of [...(await amongWaiting(tx, keys)), ...(await withoutLink(tx))]) tell(problem)
  return report
}

/** Compares a link with its row and with the link before it. */
function compare(seal: Seal, previous: Buffer, retainedFrom: Date | null, keys: AuditKeys): AuditProblem | undefined {
  const { seq, rowId, row } = seal
  const where = `row ${rowId} of link ${seq}`
  const problem = (kind: AuditProblem['kind'], message: string): AuditProblem => ({ kind, seq, rowId, message })
  const isRetired = retainedFrom !== null && seal.rowCreatedAt < retainedFrom

  if (!isAfter(previous, seal)) return problem('moved', `${where} was changed or moved, or the link before it`)
  if (row === null) return isRetired ? undefined : problem('missing', `${where} is missing`)
  if (isRetired) return problem('backdated', `${where} is older than the retention period: it was inserted again`)
  if (seal.isGenuine === false)
    return problem('forged', `${where} was not written by a server with these keys: it was inserted before sealing`)
  if (!isIntact({ ...seal, row }, keys))
    return seal.salt === null
      ? problem('erased', `${where} was pseudonymised, but no key signed the result`)
      : problem('changed', `${where} was changed: its names, address or details differ`)
  if (seal.rowDigest !== null && !rowDigestOf(row, seal.personalDigest).equals(seal.rowDigest))
    return problem('changed', `${where} was changed`)
  return undefined
}

/** Whether a link continues the one with this digest. A link without MACs cannot be checked when its row is missing. */
function isAfter(previous: Buffer, seal: Seal): boolean {
  const { seq, rowId, rowAt, row, personalDigest, rowDigest, isGenuine, isContinuous, digest } = seal
  if (rowDigest !== null && isGenuine !== null && isContinuous !== null)
    return linkDigest(previous, { seq, rowId, rowAt, isGenuine, isContinuous, rowDigest }).equals(digest)
  return row === null || plainLinkDigest(previous, seq, row, personalDigest).equals(digest)
}

/**
 * Tracks which links are proven. A MAC or a signature at a link proves every earlier link, back to one that was not
 * added to an authentic end of the chain.
 */
class Proof {
  #provenUpTo: number
  readonly #tell: Tell

  constructor(start: number, tell: Tell) {
    this.#provenUpTo = start
    this.#tell = tell
  }

  reaches(seq: number): void {
    this.#provenUpTo = seq
  }

  breaksBefore(seq: number): void {
    this.endsAt(seq - 1)
    this.#provenUpTo = seq - 1
  }

  endsAt(seq: number): void {
    const first = this.#provenUpTo + 1
    if (first > seq) return
    const links = first === seq ? `link ${seq}` : `links ${first} to ${seq}`
    this.#tell({ kind: 'unproven', seq: first, message: `no key signed ${links}: anybody may have written them` })
  }
}

/** Where the chain begins: at link 1, or after the checkpoint at which retention cut it. */
async function beginning(
  tx: Db,
  signed: ReadonlyMap<number, SignedCheckpoint>,
  tell: Tell
): Promise<{ seq: number; digest: Buffer }> {
  const [first] = await tx.select({ seq: auditSeals.seq }).from(auditSeals).orderBy(asc(auditSeals.seq)).limit(1)
  const isCut = (checkpoint: SignedCheckpoint) => checkpoint.valid && checkpoint.retainedFrom !== null
  const start = { seq: 0, digest: GENESIS }
  if (first === undefined) return [...signed.values()].findLast(isCut) ?? start
  if (first.seq === 1) return start
  const before = signed.get(first.seq - 1)
  if (before !== undefined && isCut(before)) return before
  tell({
    kind: 'link missing',
    seq: 1,
    message: `links 1 to ${first.seq - 1} are missing, but not because of retention`
  })
  return before ?? { ...start, seq: first.seq - 1 }
}

type SignedCheckpoint = typeof auditCheckpoints.$inferSelect & { valid: boolean }

/** A checkpoint whose key has left the ring is ignored: later checkpoints cover the same links. */
async function readCheckpoints(tx: Db, keys: AuditKeys, tell: Tell) {
  const checkpoints = await tx.select().from(auditCheckpoints).orderBy(asc(auditCheckpoints.seq))
  return checkpoints.map((checkpoint): SignedCheckpoint => {
    const verdict = keys.verifyCheckpoint(checkpoint, checkpoint.keyId, checkpoint.signature)
    if (verdict === false)
      tell({
        kind: 'checkpoint',
        seq: checkpoint.seq,
        message: `the signature of link ${checkpoint.seq} is invalid`
      })
    return { ...checkpoint, valid: verdict === true }
  })
}

async function* readSeals(tx: Db): AsyncGenerator<Seal> {
  let after = 0
  for (;;) {
    const seals = await tx
      .select({ seal: auditSeals, rowAt: microseconds(auditSeals.rowCreatedAt), row: chainedFields })
      .from(auditSeals)
      .leftJoin(auditLogs, and(eq(auditLogs.id, auditSeals.rowId), eq(auditLogs.createdAt, auditSeals.rowCreatedAt)))
      .where(gt(auditSeals.seq, after))
      .orderBy(asc(auditSeals.seq))
      .limit(BATCH)
    for (const { seal, rowAt, row } of seals) yield { ...seal, rowAt, row: row?.id ? (row as ChainedRow) : null }
    if (seals.length < BATCH) return
    after = seals.at(-1)!.seal.seq
  }
}

/** Waiting rows that were not written by a server with these keys. */
async function amongWaiting(tx: Db, keys: AuditKeys): Promise<AuditProblem[]> {
  const rows = await tx
    .select({ mac: auditLogs.mac, row: chainedFields })
    .from(auditUnsealed)
    .innerJoin(
      auditLogs,
      and(eq(auditLogs.id, auditUnsealed.rowId), eq(auditLogs.createdAt, auditUnsealed.rowCreatedAt))
    )
    .orderBy(asc(auditUnsealed.position))
    .limit(BATCH)
  return rows
    .filter(({ mac, row }) => !keys.isMac('row', rowText(row as ChainedRow), mac))
    .map(({ row: { id } }) => ({
      kind: 'forged',
      rowId: id,
      message: `row ${id}, which is not linked yet, was not written by a server with these keys`
    }))
}

/** Rows that have no link and do not wait for one: they were inserted past the trigger. */
async function withoutLink(tx: Db): Promise<AuditProblem[]> {
  const rows = await tx.execute<{ id: string }>(sql`
    select a.id from audit_logs a
    where not exists (select from audit_seals s where s.row_created_at = a.created_at and s.row_id = a.id)
      and not exists (select from audit_unsealed u where u.row_created_at = a.created_at and u.row_id = a.id)
    limit ${MOST_PROBLEMS}`)
  return rows.map(({ id }) => ({ kind: 'added', rowId: id, message: `row ${id} has no link: it was inserted` }))
}
