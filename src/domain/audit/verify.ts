import { and, asc, eq, gt, sql } from 'drizzle-orm'
import { auditCheckpoints, auditLogs, auditSeals, auditUnsealed } from '../../../drizzle/schema.ts'
import type { Db } from '../base/db.ts'
import {
  type ChainedRow,
  type CheckpointSigner,
  chainedFields,
  GENESIS,
  linkDigest,
  personalDigestOf
} from './chain.ts'
import { ERASED_ACTOR } from './erase.ts'

export interface AuditProblem {
  kind: 'missing' | 'changed' | 'moved' | 'added' | 'erased' | 'link missing' | 'checkpoint'
  /** The number of the link, where it is one. */
  seq?: number
  rowId?: string
  message: string
}

export interface AuditReport {
  /** How many rows are as they were sealed. */
  intact: number
  /** How many of them were pseudonymised since. */
  erased: number
  /** How many links tell of rows that retention has removed. */
  retired: number
  /** How many rows wait for their link. */
  waiting: number
  /** The newest checkpoint whose signature holds: up to here nobody without the key has made up anything. */
  signedUpTo: number
  checkpoints: number
  problems: AuditProblem[]
  /** There are more than are listed. */
  truncated: boolean
}

const BATCH = 1_000
const MOST_PROBLEMS = 200

type Seal = typeof auditSeals.$inferSelect & { row: ChainedRow | null }

/**
 * Compares the audit log with its chain, row by row, in one snapshot of the database: finds what was changed, removed,
 * moved or slipped in since it was sealed, and says which.
 */
export function verifyAudit(db: Db, signer: CheckpointSigner): Promise<AuditReport> {
  return db.transaction(tx => walk(tx, signer), { isolationLevel: 'repeatable read', accessMode: 'read only' })
}

async function walk(tx: Db, signer: CheckpointSigner): Promise<AuditReport> {
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
  const tell = (problem: AuditProblem) => {
    if (report.problems.length < MOST_PROBLEMS) report.problems.push(problem)
    else report.truncated = true
  }
  const checkpoints = await readCheckpoints(tx, signer, tell)
  const cut = checkpoints.findLast(({ valid, retainedFrom }) => valid && retainedFrom !== null)
  const signed = new Map(checkpoints.map(checkpoint => [checkpoint.seq, checkpoint]))
  report.checkpoints = checkpoints.length

  const erasures = new Erasures()
  let last = await beginning(tx, signed, cut, tell)
  for await (const seal of readSeals(tx)) {
    const { seq, rowId, row } = seal
    if (seq !== last.seq + 1)
      tell({ kind: 'link missing', seq: last.seq + 1, message: `links ${last.seq + 1} to ${seq - 1} are missing` })

    if (row === null) {
      if (cut?.retainedFrom && seal.rowCreatedAt < cut.retainedFrom) report.retired += 1
      else tell({ kind: 'missing', seq, rowId, message: `row ${rowId} of link ${seq} is missing` })
    } else {
      const problem = compare(seal, row, last.digest)
      if (problem !== undefined) tell(problem)
      else report.intact += 1
      erasures.note(seal, row)
      if (seal.salt === null) report.erased += 1
    }
    const checkpoint = signed.get(seq)
    if (checkpoint?.valid && checkpoint.digest.equals(seal.digest)) report.signedUpTo = seq
    else if (checkpoint !== undefined && !checkpoint.digest.equals(seal.digest))
      tell({
        kind: 'checkpoint',
        seq,
        message: `link ${seq} is not the one that was signed: a link up to it was made up`
      })
    last = seal
  }
  const newest = checkpoints.at(-1)
  if (newest !== undefined && newest.seq > last.seq)
    tell({ kind: 'link missing', seq: last.seq + 1, message: `links ${last.seq + 1} to ${newest.seq} are missing` })
  for (const problem of [...erasures.unexplained(), ...(await withoutLink(tx))]) tell(problem)
  return report
}

function compare({ seq, salt, personalDigest, digest }: Seal, row: ChainedRow, previous: Buffer) {
  const where = `row ${row.id} of link ${seq}`
  const problem = (kind: AuditProblem['kind'], message: string): AuditProblem => ({ kind, seq, rowId: row.id, message })
  if (salt === null ? !isErased(row) : !personalDigestOf(row, salt).equals(personalDigest))
    return problem('changed', `${where} was changed: its names, address or details are others`)
  if (linkDigest(previous, seq, row, personalDigest).equals(digest)) return undefined
  return problem('moved', `${where} was changed or moved, or the link before it was`)
}

/** Of a row by the person all three are gone, of one about them the name. */
function isErased({ actor, ip, userAgent, resourceName }: ChainedRow): boolean {
  return (actor === ERASED_ACTOR && ip === null && userAgent === null) || resourceName === null
}

/** Where the chain begins: at its first link, or after the checkpoint up to which retention has removed it. */
async function beginning(
  tx: Db,
  signed: ReadonlyMap<number, SignedCheckpoint>,
  cut: SignedCheckpoint | undefined,
  tell: (problem: AuditProblem) => void
): Promise<{ seq: number; digest: Buffer }> {
  const [first] = await tx.select({ seq: auditSeals.seq }).from(auditSeals).orderBy(asc(auditSeals.seq)).limit(1)
  if (cut !== undefined && (first === undefined || first.seq === cut.seq + 1)) return cut
  const start = { seq: 0, digest: GENESIS }
  if (first === undefined || first.seq === 1) return start
  tell({ kind: 'link missing', seq: 1, message: `links 1 to ${first.seq - 1} are missing, and not by retention` })
  return signed.get(first.seq - 1) ?? { ...start, seq: first.seq - 1 }
}

type SignedCheckpoint = typeof auditCheckpoints.$inferSelect & { valid: boolean }

/** One whose key is no longer in the ring counts for nothing, and is no problem: those after it cover what it did. */
async function readCheckpoints(tx: Db, signer: CheckpointSigner, tell: (problem: AuditProblem) => void) {
  const checkpoints = await tx.select().from(auditCheckpoints).orderBy(asc(auditCheckpoints.seq))
  return checkpoints.map((checkpoint): SignedCheckpoint => {
    const verdict = signer.verify(checkpoint, checkpoint.keyId, checkpoint.signature)
    if (verdict === false)
      tell({
        kind: 'checkpoint',
        seq: checkpoint.seq,
        message: `the signature of link ${checkpoint.seq} does not hold`
      })
    return { ...checkpoint, valid: verdict === true }
  })
}

async function* readSeals(tx: Db): AsyncGenerator<Seal> {
  let after = 0
  for (;;) {
    const seals = await tx
      .select({ seal: auditSeals, row: chainedFields })
      .from(auditSeals)
      .leftJoin(auditLogs, and(eq(auditLogs.id, auditSeals.rowId), eq(auditLogs.createdAt, auditSeals.rowCreatedAt)))
      .where(gt(auditSeals.seq, after))
      .orderBy(asc(auditSeals.seq))
      .limit(BATCH)
    for (const { seal, row } of seals) yield { ...seal, row: row?.id ? (row as ChainedRow) : null }
    if (seals.length < BATCH) return
    after = seals.at(-1)!.seal.seq
  }
}

/** Rows that nothing vouches for: slipped in past the trigger that puts every new row up for sealing. */
async function withoutLink(tx: Db): Promise<AuditProblem[]> {
  const rows = await tx.execute<{ id: string }>(sql`
    select a.id from audit_logs a
    where not exists (select from audit_seals s where s.row_created_at = a.created_at and s.row_id = a.id)
      and not exists (select from audit_unsealed u where u.row_id = a.id)
      and a.created_at >= coalesce((select min(row_created_at) from audit_seals), '-infinity')
    limit ${MOST_PROBLEMS}`)
  return rows.map(({ id }) => ({ kind: 'added', rowId: id, message: `row ${id} has no link: it was slipped in` }))
}

/** Names may be taken out of rows when an account is deleted, of which there is a row in turn. */
class Erasures {
  readonly #deleted = new Set<string>()
  readonly #erased: { seq: number; row: ChainedRow }[] = []

  note({ seq, salt }: Seal, row: ChainedRow): void {
    if (row.resource === 'user' && row.action === 'delete' && row.outcome === 'success' && row.resourceId !== null)
      this.#deleted.add(row.resourceId)
    if (salt === null) this.#erased.push({ seq, row })
  }

  unexplained(): AuditProblem[] {
    const isExplained = (row: ChainedRow) =>
      [row.userId, row.resourceId].some(id => id !== null && this.#deleted.has(id))
    return this.#erased
      .filter(({ row }) => !isExplained(row))
      .map(({ seq, row }) => ({
        kind: 'erased',
        seq,
        rowId: row.id,
        message: `row ${row.id} of link ${seq} was pseudonymised, and nobody it is of has deleted their account`
      }))
  }
}
