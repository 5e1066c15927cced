import { and, eq, inArray, isNotNull, sql } from 'drizzle-orm'
import { auditLogs, auditSeals } from '../../../drizzle/schema.ts'
import type { Db } from '../base/db.ts'
import { type ChainedRow, chainedFields, erasureText, personalDigestOf } from './chain.ts'
import type { AuditKeys } from './keys.ts'
import { lockChain, sealWaiting } from './seal.ts'

/** The actor of a row whose account is erased. The user's id stays, so that the actions of one person remain linked. */
export const ERASED_ACTOR = 'deleted user'

const BATCH = 500

/**
 * Removes personal data from one batch of the rows that a person caused or that are about them: the actor's name,
 * address and user agent, and the account's name. In rows without a team, or whose team has no other member, the names
 * of things and the details go as well.
 *
 * The link of each row keeps its digests, so that the chain still holds, loses its salt, and gets a MAC over the
 * remaining fields. A row that had been tampered with gets no MAC. The MAC of the row itself is removed, because it
 * would let a holder of the key confirm a guessed name.
 *
 * @returns the number of rows; 0 when none is left
 */
export function pseudonymiseBatch(db: Db, keys: AuditKeys, userId: string): Promise<number> {
  return db.transaction(async tx => {
    await lockChain(tx)
    // A row must have its link first: an erased row without one would look like a forgery when it is sealed.
    while ((await sealWaiting(tx, keys)) > 0);
    const chosen = await chooseRows(tx, userId)
    if (chosen.length === 0) return 0
    const seqs = chosen.map(({ seq }) => seq)
    const intact = new Set((await readSealed(tx, seqs)).filter(found => isIntact(found, keys)).map(({ seq }) => seq))
    await emptyRows(tx, userId, seqs)
    for (const { seq, row } of await readSealed(tx, seqs))
      await noteErasure(tx, keys, seq, intact.has(seq) ? keys.mac('erasure', erasureText(seq, row)) : null)
    return chosen.length
  })
}

async function chooseRows(tx: Db, userId: string): Promise<{ seq: number }[]> {
  const rows = await tx.execute<{ seq: string }>(sql`
    select s.seq from audit_seals s
    join audit_logs a on a.id = s.row_id and a.created_at = s.row_created_at
    where (a.id, a.created_at) in (
      select id, created_at from audit_logs
      where user_id = ${userId}::uuid and (actor is distinct from ${ERASED_ACTOR} or ip is not null or user_agent is not null)
      union
      select id, created_at from audit_logs where resource_id = ${userId} and resource_name is not null
    )
    limit ${BATCH}`)
  return rows.map(({ seq }) => ({ seq: Number(seq) }))
}

async function readSealed(tx: Db, seqs: readonly number[]) {
  const rows = await tx
    .select({ seal: auditSeals, row: chainedFields })
    .from(auditSeals)
    .innerJoin(auditLogs, and(eq(auditLogs.id, auditSeals.rowId), eq(auditLogs.createdAt, auditSeals.rowCreatedAt)))
    .where(inArray(auditSeals.seq, [...seqs]))
  return rows.map(({ seal, row }) => ({ ...seal, row: row as ChainedRow }))
}

type SealedRow = Awaited<ReturnType<typeof readSealed>>[number]

/** Whether the personal data of a row is unchanged since it was sealed or last erased. */
export function isIntact(
  sealed: Pick<SealedRow, 'seq' | 'salt' | 'personalDigest' | 'erasure' | 'row'>,
  keys: AuditKeys
) {
  const { seq, salt, personalDigest, erasure, row } = sealed
  if (salt !== null) return personalDigestOf(row, salt).equals(personalDigest)
  return keys.isMac('erasure', erasureText(seq, row), erasure)
}

async function emptyRows(tx: Db, userId: string, seqs: readonly number[]): Promise<void> {
  await tx.execute(sql`set local rhone.audit_purge = 'on'`)
  await tx.execute(sql`
    with judged as (
      select a.id, a.created_at, a.user_id is not distinct from ${userId}::uuid as by_them,
        a.resource_id is not distinct from ${userId} as of_them,
        not exists (select from team_members m where m.team_id = a.team_id and m.user_id <> ${userId}::uuid) as alone
      from audit_seals s join audit_logs a on a.id = s.row_id and a.created_at = s.row_created_at
      where s.seq in (select value::bigint from jsonb_array_elements_text(${JSON.stringify(seqs)}::jsonb))
    )
    update audit_logs a set
      actor = case when by_them then ${ERASED_ACTOR} else a.actor end,
      ip = case when by_them then null else a.ip end,
      user_agent = case when by_them then null else a.user_agent end,
      resource_name = case when of_them or (by_them and alone) then null else a.resource_name end,
      details = case when by_them and alone then null else a.details end,
      mac = null
    from judged where a.id = judged.id and a.created_at = judged.created_at`)
}

async function noteErasure(tx: Db, keys: AuditKeys, seq: number, erasure: Buffer | null): Promise<void> {
  await tx
    .update(auditSeals)
    .set({ salt: null, erasure, erasureKeyId: erasure && keys.currentId })
    .where(eq(auditSeals.seq, seq))
}

/**
 * Renews the MACs of erasures that were made with an older key, so that the key can be removed from the ring. An
 * erasure whose MAC no key of the ring verifies stays as it is.
 *
 * @returns the number of renewed MACs; 0 when none is left
 */
export function renewErasures(db: Db, keys: AuditKeys): Promise<number> {
  if (keys.olderIds.length === 0) return Promise.resolve(0)
  return db.transaction(async tx => {
    await lockChain(tx)
    const old = await tx
      .select({ seq: auditSeals.seq })
      .from(auditSeals)
      .where(and(isNotNull(auditSeals.erasure), inArray(auditSeals.erasureKeyId, keys.olderIds)))
      .limit(BATCH)
    const sealed = await readSealed(
      tx,
      old.map(({ seq }) => seq)
    )
    const intact = sealed.filter(found => isIntact(found, keys))
    for (const { seq, row } of intact) await noteErasure(tx, keys, seq, keys.mac('erasure', erasureText(seq, row)))
    return intact.length
  })
}
