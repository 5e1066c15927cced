import { sql } from 'drizzle-orm'
import type { Db } from '../base/db.ts'
import { lockChain } from './seal.ts'

/** Who has acted, once the account is gone. The user's id stays: it tells actions of one person from those of another. */
export const ERASED_ACTOR = 'deleted user'

const BATCH = 500

/**
 * Takes what tells of a person out of some of the rows they have made or that are about them: the actor's name, address
 * and browser, and the name of the account; in rows of no team, of a team that is gone or that nobody else is in, what
 * things were called, too. The links of these rows keep their digests and lose their salt, so that the chain still holds.
 *
 * @returns how many rows; none when there are no more
 */
export function pseudonymiseBatch(db: Db, userId: string): Promise<number> {
  return db.transaction(async tx => {
    // The sealer must not be reading a row that changes here.
    await lockChain(tx)
    await tx.execute(sql`set local rhone.audit_purge = 'on'`)
    const erased = await tx.execute<{ id: string; at: string }>(sql`
      with chosen as (
        select id, created_at from audit_logs
        where user_id = ${userId}::uuid and (actor is distinct from ${ERASED_ACTOR} or ip is not null or user_agent is not null)
        union
        select id, created_at from audit_logs where resource_id = ${userId} and resource_name is not null
        limit ${BATCH}
      ), judged as (
        select a.id, a.created_at, a.user_id is not distinct from ${userId}::uuid as by_them,
          a.resource_id is not distinct from ${userId} as of_them,
          not exists (select from team_members m where m.team_id = a.team_id and m.user_id <> ${userId}::uuid) as alone
        from chosen join audit_logs a using (id, created_at)
      )
      update audit_logs a set
        actor = case when by_them then ${ERASED_ACTOR} else a.actor end,
        ip = case when by_them then null else a.ip end,
        user_agent = case when by_them then null else a.user_agent end,
        resource_name = case when of_them or (by_them and alone) then null else a.resource_name end,
        details = case when by_them and alone then null else a.details end
      from judged where a.id = judged.id and a.created_at = judged.created_at
      returning a.id, a.created_at::text as at`)
    for (const { id, at } of erased)
      await tx.execute(
        sql`update audit_seals set salt = null where row_id = ${id}::uuid and row_created_at = ${at}::timestamptz`
      )
    return erased.length
  })
}
