import { and, asc, eq, inArray, lt, type SQL, sql } from 'drizzle-orm'
import { apps, githubInstallations, type LastPush } from '../../../drizzle/schema.ts'
import type { Db } from '../base/db.ts'
import { type App, appFields } from '../teams/access.ts'
import type { InstallationChange, Push, RepositoriesRemoved, RepositoryRenamed } from './payloads.ts'

/* Applies GitHub's events to our tables. */

/**
 * The apps to deploy for a push: those with its repository and branch, matched by installation and repository id, since
 * names can be taken over by others. Apps that a newer push has already reached are left out.
 *
 * The rows stay locked until the transaction ends, so that of two pushes the one processed second sees the effect of
 * the first, in either order.
 */
export async function takePushedApps(tx: Db, push: Push, receivedAt: Date): Promise<App[]> {
  const { installationId, repoId, branch, ref, before, after, pushedAt } = push
  const found = await tx
    .select({ ...appFields, lastPush: apps.lastPush })
    .from(apps)
    .where(
      and(
        eq(apps.githubInstallationId, installationId),
        eq(apps.githubRepoId, repoId),
        eq(apps.githubBranch, branch),
        eq(apps.autoDeploy, true)
      )
    )
    .orderBy(asc(apps.id))
    .for('no key update')

  const arrived: LastPush = { repoId, ref, before, after, pushedAt, receivedAt: receivedAt.getTime() }
  const reached = found.filter(({ lastPush }) => lastPush === null || isNewer(arrived, lastPush))
  if (reached.length > 0)
    await tx
      .update(apps)
      .set({ lastPush: arrived })
      .where(inArray(apps.id, reached.map(idOf)))
  return reached.map(({ lastPush: _, ...app }) => app)
}

/**
 * Whether a push is newer than the last one. Deliveries arrive in any order, particularly after an outage, when they
 * are redelivered. There are three clues to their order, and each can mislead: that one push continues from the other's
 * commit, unless the branch was reset in between; GitHub's clock, which is kept per repository and sometimes read late;
 * and the order of arrival. Any two outvote the third, and an earlier clue in this list outvotes a later one.
 */
export function isNewer(push: LastPush, last: LastPush): boolean {
  if (push.repoId !== last.repoId || push.ref !== last.ref) return true
  if (push.before === last.before && push.after === last.after && push.pushedAt === last.pushedAt) return false
  const succession = Number(push.before === last.after) - Number(push.after === last.before)
  const clock = push.pushedAt === null || last.pushedAt === null ? 0 : Math.sign(push.pushedAt - last.pushedAt)
  const arrival = Math.sign(push.receivedAt - last.receivedAt)
  return 4 * succession + 3 * clock + 2 * arrival >= 0
}

/** An app that is no longer deployed automatically, or whose repository was renamed. */
export interface ChangedApp {
  readonly id: string
  readonly teamId: string
  readonly name: string
}

export interface ChangedInstallation {
  readonly teamId: string
  readonly accountLogin: string
}

const ofInstallation = (installationId: number) => eq(githubInstallations.installationId, installationId)

/** Removes an installation that was uninstalled. Only its apps lose automatic deployment; they keep running. */
export async function removeInstallation(tx: Db, installationId: number) {
  const stopped = await stopAutoDeploy(tx, eq(apps.githubInstallationId, installationId))
  const [removed] = await tx.delete(githubInstallations).where(ofInstallation(installationId)).returning({
    teamId: githubInstallations.teamId,
    accountLogin: githubInstallations.accountLogin
  })
  return { removed, stopped }
}

/**
 * Records that an installation was suspended or resumed.
 *
 * @returns undefined when it is unknown, or newer information is stored
 */
export async function setSuspension(
  tx: Db,
  { installationId, suspendedAt, at }: InstallationChange
): Promise<ChangedInstallation | undefined> {
  const [changed] = await tx
    .update(githubInstallations)
    .set({ suspendedAt })
    .where(and(ofInstallation(installationId), lt(githubInstallations.updatedAt, at)))
    .returning({ teamId: githubInstallations.teamId, accountLogin: githubInstallations.accountLogin })
  return changed
}

/** Handles repositories removed from an installation: their apps lose automatic deployment. */
export async function loseRepositories(
  tx: Db,
  { installationId, repoIds }: RepositoriesRemoved
): Promise<ChangedApp[]> {
  const ids = sql`${`{${repoIds.join(',')}}`}::bigint[]`
  return stopAutoDeploy(tx, and(eq(apps.githubInstallationId, installationId), sql`${apps.githubRepoId} = any(${ids})`))
}

/** Updates the name of a repository, which is for display only; apps are matched by its id. */
export async function renameRepository(
  tx: Db,
  { installationId, repoId, name }: RepositoryRenamed
): Promise<ChangedApp[]> {
  const isOther = sql`${apps.githubRepo} is distinct from ${name}`
  return changeApps(tx, and(eq(apps.githubInstallationId, installationId), eq(apps.githubRepoId, repoId), isOther), {
    githubRepo: name
  })
}

const stopAutoDeploy = (tx: Db, condition: SQL | undefined) =>
  changeApps(tx, and(condition, eq(apps.autoDeploy, true)), { autoDeploy: false })

async function changeApps(
  tx: Db,
  condition: SQL | undefined,
  changes: { autoDeploy: false } | { githubRepo: string }
): Promise<ChangedApp[]> {
  return tx
    .update(apps)
    .set({ ...changes, version: sql`${apps.version} + 1` })
    .where(condition)
    .returning({ id: apps.id, teamId: apps.teamId, name: apps.name })
}

const idOf = ({ id }: { id: string }) => id

/** NOTIFY channel; the payload is the id of an installation for which cached data is stale. */
export const INSTALLATION_CHANNEL = 'rhone_github_installation'

/** Notifies all instances when the transaction commits. */
export async function announceInstallation(tx: Db, installationId: number): Promise<void> {
  await tx.execute(sql`select pg_notify(${INSTALLATION_CHANNEL}, ${String(installationId)})`)
}
