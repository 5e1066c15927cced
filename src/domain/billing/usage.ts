import { and, eq, gt, isNull, sql } from 'drizzle-orm'
import { apps, teamInvitations, teamMembers } from '../../../drizzle/schema.ts'
import type { Db } from '../base/db.ts'

/** How much of its plan a team uses now. Open invitations count as members, since they may become members. */
export async function countUsage(db: Db, teamId: string): Promise<{ members: number; invited: number; apps: number }> {
  const isOpen = and(
    eq(teamInvitations.teamId, teamId),
    isNull(teamInvitations.acceptedAt),
    isNull(teamInvitations.revokedAt),
    gt(teamInvitations.expiresAt, sql`now()`)
  )
  const [members, invited, appCount] = await Promise.all([
    db.$count(teamMembers, eq(teamMembers.teamId, teamId)),
    db.$count(teamInvitations, isOpen),
    db.$count(apps, eq(apps.teamId, teamId))
  ])
  return { members, invited, apps: appCount }
}
