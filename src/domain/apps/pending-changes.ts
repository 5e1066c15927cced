import { and, eq } from 'drizzle-orm'
import { deployments, envVars } from '../../../drizzle/schema.ts'
import type { Db } from '../base/db.ts'
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

/** Null if nothing changed, or if there is no live deployment to compare with. */
export async function pendingChanges(db: Db, app: App): Promise<PendingChanges | null> {
  const [live] = await db
    .select({ envVersions: deployments.envVersions, config: deployments.config, branch: deployments.branch })
    .from(deployments)
    .where(and(eq(deployments.appId, app.id), eq(deployments.status, 'live')))
  if (live?.envVersions == null) return null
  const now = await db
    .select({ key: envVars.key, version: envVars.version })
    .from(envVars)
    .where(eq(envVars.appId, app.id))
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
