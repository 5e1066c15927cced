import { and, eq, inArray, lt, ne, sql } from 'drizzle-orm'
import {
  ACTIVE_DEPLOYMENT_STATUSES,
  apps,
  type DeploymentStatus,
  type DeploymentTrigger,
  deployments,
  envVars,
  teamMembers,
  users
} from '../../../drizzle/schema.ts'
import { errors } from '../../../plugins/lib/errors.ts'
import { type Db, repeatableRead } from '../base/db.ts'

/** A deployment as part of an overview. */
export interface DeploymentSummary {
  readonly id: string
  readonly status: DeploymentStatus
  readonly trigger: DeploymentTrigger
  readonly branch: string | null
  readonly commitSha: string | null
  readonly commitMessage: string | null
  readonly errorMessage: string | null
  readonly by: string | null
  readonly createdAt: string
  readonly updatedAt: string
}

/** An app with its current state. */
export interface AppOverview {
  readonly id: string
  readonly name: string
  readonly slug: string
  readonly githubRepo: string | null
  readonly gitUrl: string | null
  readonly githubBranch: string
  readonly flyAppId: string | null
  readonly region: string
  readonly createdAt: string
  /** The newest deployment; null before the first one. */
  readonly latest: DeploymentSummary | null
  /** The live deployment; null if there is none. */
  readonly live: DeploymentSummary | null
}

export interface OverviewRequest {
  /** Part of the name, the slug or the repository. */
  readonly text?: string | undefined
  readonly limit: number
}

/** Text, because the pages that show many apps would otherwise put it together from its parts each time. */
const glimpse = (d: 'd' | 'latest' | 'live') =>
  sql.raw(`case when ${d}.id is null then null else json_build_object(
    'id', ${d}.id, 'status', ${d}.status, 'trigger', ${d}.trigger, 'branch', ${d}.branch, 'commitSha', ${d}.commit_sha,
    'commitMessage', left(${d}.commit_message, 200), 'errorMessage', left(${d}.error_message, 500),
    'by', (select username from users where users.id = ${d}.triggered_by), 'createdAt', ${d}.created_at,
    'updatedAt', ${d}.updated_at) end`)

/** The apps of a team with their newest and their live deployments, most recently changed first. */
export async function overviewApps(
  db: Db,
  teamId: string,
  { text = '', limit }: OverviewRequest
): Promise<AppOverview[]> {
  const part = `%${text.replaceAll(/[\\%_]/g, '\\$&')}%`
  return db.execute<AppOverview & Record<string, unknown>>(sql`
    select a.id, a.name, a.slug, a.github_repo as "githubRepo", a.git_url as "gitUrl",
      a.github_branch as "githubBranch", a.fly_app_id as "flyAppId", a.region,
      to_json(a.created_at)#>>'{}' as "createdAt", ${glimpse('latest')} as latest, ${glimpse('live')} as live
    from apps a
    left join lateral (
      select * from deployments d where d.app_id = a.id order by d.created_at desc nulls first, d.id desc nulls first limit 1
    ) latest on true
    left join deployments live on live.app_id = a.id and live.status = 'live'
    where a.team_id = ${teamId}
      and (${text} = '' or a.name ilike ${part} or a.slug ilike ${part} or a.github_repo ilike ${part} or a.git_url ilike ${part})
    order by greatest(a.updated_at, coalesce(latest.updated_at, a.updated_at)) desc, a.id
    limit ${limit}`)
}

/** A deployment with its app. */
export interface RecentDeployment extends DeploymentSummary {
  readonly app: { readonly name: string; readonly slug: string }
}

/** The newest deployments of all apps of a team. */
export async function recentDeployments(db: Db, teamId: string, limit: number): Promise<RecentDeployment[]> {
  const rows = await db.execute<{ app: RecentDeployment['app']; deployment: DeploymentSummary }>(sql`
    select json_build_object('name', a.name, 'slug', a.slug) as app, ${glimpse('d')} as deployment
    from apps a
    join lateral (
      select * from deployments d where d.app_id = a.id order by d.created_at desc nulls first, d.id desc nulls first limit ${limit}
    ) d on true
    where a.team_id = ${teamId}
    order by d.created_at desc, d.id desc
    limit ${limit}`)
  return rows.map(({ app, deployment }) => ({ ...deployment, app }))
}

/** One app with its newest and its live deployment. */
export async function overviewApp(db: Db, appId: string): Promise<AppOverview> {
  const [found] = await db.execute<AppOverview & Record<string, unknown>>(sql`
    select a.id, a.name, a.slug, a.github_repo as "githubRepo", a.git_url as "gitUrl",
      a.github_branch as "githubBranch", a.fly_app_id as "flyAppId", a.region,
      to_json(a.created_at)#>>'{}' as "createdAt", ${glimpse('latest')} as latest, ${glimpse('live')} as live
    from apps a
    left join lateral (
      select * from deployments d where d.app_id = a.id order by d.created_at desc nulls first, d.id desc nulls first limit 1
    ) latest on true
    left join deployments live on live.app_id = a.id and live.status = 'live'
    where a.id = ${appId}`)
  if (found === undefined) throw errors.notFound('app')
  return found
}

const usersByIds = repeatableRead(db =>
  db
    .select({ id: users.id, username: users.username })
    .from(users)
    .where(sql`${users.id} = any(string_to_array(${sql.placeholder('ids')}, ',')::uuid[])`)
    .prepare('users_by_ids')
)

/** The names of users, by id. */
export async function namesOf(db: Db, ids: readonly (string | null)[]): Promise<ReadonlyMap<string, string>> {
  const known = [...new Set(ids.filter(id => id !== null))]
  if (known.length === 0) return new Map()
  const rows = await usersByIds(db).execute({ ids: known.join() })
  return new Map(rows.map(({ id, username }) => [id, username]))
}

/** Number of pending and running deployments on the platform that began before this one. */
export async function deploymentsAhead(db: Db, { createdAt, id }: { createdAt: Date; id: string }): Promise<number> {
  return db.$count(
    deployments,
    and(
      inArray(deployments.status, [...ACTIVE_DEPLOYMENT_STATUSES]),
      lt(deployments.createdAt, createdAt),
      ne(deployments.id, id)
    )
  )
}

/** Counts of what belongs to an app. */
export async function countsOf(db: Db, appId: string): Promise<{ deployments: number; envVars: number }> {
  const [deploymentCount, envVarCount] = await Promise.all([
    db.$count(deployments, eq(deployments.appId, appId)),
    db.$count(envVars, eq(envVars.appId, appId))
  ])
  return { deployments: deploymentCount, envVars: envVarCount }
}

/** The apps of a user's teams, or of one of them, each with its team. */
export async function appsOfUser(db: Db, userId: string, teamId?: string): Promise<ReadonlyMap<string, string>> {
  const rows = await db
    .select({ id: apps.id, teamId: apps.teamId })
    .from(apps)
    .innerJoin(teamMembers, eq(teamMembers.teamId, apps.teamId))
    .where(and(eq(teamMembers.userId, userId), teamId === undefined ? undefined : eq(apps.teamId, teamId)))
  return new Map(rows.map(row => [row.id, row.teamId]))
}
