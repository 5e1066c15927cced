import { and, count, desc, eq, gte, inArray, sql, sum } from 'drizzle-orm'
import {
  ACTIVE_DEPLOYMENT_STATUSES,
  apps,
  deployments,
  errorEvents,
  teams,
  usageRecords,
  users
} from '../../../drizzle/schema.ts'
import type { Db } from '../base/db.ts'

const DAY = 24 * 60 * 60 * 1000
const TOP_APPS = 10
const RECENT_ERRORS = 20

/**
 * The statistics of the operators' dashboard. Fails as a whole: an unreadable number is not zero. The queries run in
 * parallel, as far as the pool has connections.
 */
export async function platformStats(db: Db, now = new Date()) {
  const billingPeriod = `${now.toISOString().slice(0, 7)}-01`
  const [userCount, teamCount, appCount, deploymentCount, activeBuilds, errors, top] = await Promise.all([
    db.$count(users),
    db.$count(teams),
    db.$count(apps),
    db.$count(deployments),
    db.$count(deployments, inArray(deployments.status, [...ACTIVE_DEPLOYMENT_STATUSES])),
    recentErrors(db, new Date(now.getTime() - DAY)),
    topApps(db, billingPeriod)
  ])
  return {
    totals: { users: userCount, teams: teamCount, apps: appCount, deployments: deploymentCount },
    activeBuilds,
    recentErrors: errors,
    topApps: top,
    billingPeriod,
    generatedAt: now
  }
}

/** Server errors since an instant by code, the latest first. */
function recentErrors(db: Db, since: Date) {
  const last = sql<Date>`max(${errorEvents.lastAt})`.mapWith(errorEvents.lastAt)
  return db
    .select({ code: errorEvents.code, count: sum(errorEvents.count).mapWith(Number), last })
    .from(errorEvents)
    .where(gte(errorEvents.hour, since))
    .groupBy(errorEvents.code)
    .orderBy(desc(last))
    .limit(RECENT_ERRORS)
}

/**
 * The apps with the most machine hours in a billing period. Unmetered apps come last, by number of deployments in that
 * period; their hours are null, which means unknown, not zero.
 */
function topApps(db: Db, billingPeriod: string) {
  const usage = db
    .select({ appId: usageRecords.appId, hours: sum(usageRecords.quantity).as('hours') })
    .from(usageRecords)
    .where(and(eq(usageRecords.metric, 'machine_hours'), eq(usageRecords.billingPeriod, billingPeriod)))
    .groupBy(usageRecords.appId)
    .as('usage')
  const recent = db
    .select({ appId: deployments.appId, count: count().as('recent_count') })
    .from(deployments)
    .where(gte(deployments.createdAt, new Date(`${billingPeriod}T00:00:00Z`)))
    .groupBy(deployments.appId)
    .as('recent')
  const top = db
    .select({
      appId: apps.id,
      appName: apps.name,
      teamId: apps.teamId,
      machineHours: sql<number | null>`${usage.hours}`.as('machine_hours'),
      recent: sql<number>`coalesce(${recent.count}, 0)`.as('recent_deployments')
    })
    .from(apps)
    .leftJoin(usage, eq(usage.appId, apps.id))
    .leftJoin(recent, eq(recent.appId, apps.id))
    .orderBy(sql`machine_hours desc nulls last, recent_deployments desc`, apps.createdAt, apps.id)
    .limit(TOP_APPS)
    .as('top')
  const deploymentsOf = db.select({ count: count() }).from(deployments).where(eq(deployments.appId, top.appId))
  return db
    .select({
      appId: top.appId,
      appName: top.appName,
      teamName: teams.name,
      machineHours: sql<number | null>`${top.machineHours}`.mapWith(Number),
      deployments: sql<number>`(${deploymentsOf})`.mapWith(Number)
    })
    .from(top)
    .innerJoin(teams, eq(teams.id, top.teamId))
    .orderBy(sql`${top.machineHours} desc nulls last, ${top.recent} desc`, top.appName, top.appId)
}
