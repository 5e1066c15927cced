import { and, eq, sql } from 'drizzle-orm'
import { deployments, envVars } from '../../../drizzle/schema.ts'
import { type Db, repeatableRead } from '../base/db.ts'
import type { App } from '../teams/access.ts'

/** Changes since the live deployment began, which take effect with the next one. */
export interface PendingChanges {
  /** New env vars and those with another value. */
  readonly set: readonly string[]
  /** Env vars that only the live deployment has. */
  readonly removed: readonly string[]
  /** Changed settings with the values that serve now. */
  readonly settings: readonly { readonly name: 'region' | 'branch'; readonly from: string; readonly to: string }[]
}

const liveDeployment = repeatableRead(db =>
  db
    .select({ envVersions: deployments.envVersions, config: deployments.config, branch: deployments.branch })
    .from(deployments)
    .where(and(eq(deployments.appId, sql.placeholder('app')), eq(deployments.status, 'live')))
    .prepare('live_deployment_of_app')
)
const envVersions = repeatableRead(db =>
  db
    .select({ key: envVars.key, version: envVars.version })
    .from(envVars)
    .where(eq(envVars.appId, sql.placeholder('app')))
    .prepare('env_versions_of_app')
)

/** Null if nothing changed, or if there is no live deployment to compare with. */
export async function pendingChanges(db: Db, app: App): Promise<PendingChanges | null> {
  const [live] = await liveDeployment(db).execute({ app: app.id })
  if (live?.envVersions == null) return null
  const now = await envVersions(db).execute({ app: app.id })
  const running = live.envVersions
  const current = new Set(now.map(({ key }) => key))
  const set = now.filter(({ key, version }) => running[key] !== version).map(({ key }) => key)
  const removed = Object.keys(running).filter(key => !current.has(key))
  const settings = [
    ...(live.config !== null && live.config.region !== app.region
      ? [{ name: 'region' as const, from: live.config.region, to: app.region }]
      : []),
    ...(live.branch !== null && live.branch !== app.githubBranch
      ? [{ name: 'branch' as const, from: live.branch, to: app.githubBranch }]
      : [])
  ]
  if (set.length + removed.length + settings.length === 0) return null
  return { set: set.sort(), removed: removed.sort(), settings }
}
