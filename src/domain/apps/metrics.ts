import { and, eq, inArray, sql } from 'drizzle-orm'
import { apps, deployments } from '../../../drizzle/schema.ts'
import type { Db } from '../base/db.ts'

/** The app under the name it runs by; undefined if it is not running. */
export async function findRunningApp(db: Db, appId: string) {
  const runs = db
    .select({ one: sql`1` })
    .from(deployments)
    .where(and(eq(deployments.appId, apps.id), inArray(deployments.status, ['deploying', 'live'])))
  const [app] = await db
    .select({ id: apps.id, slug: apps.slug, flyAppId: apps.flyAppId })
    .from(apps)
    .where(and(eq(apps.id, appId), sql`exists ${runs}`))
  return app
}
