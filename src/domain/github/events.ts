import { and, asc, eq, inArray, lt, type SQL, sql } from 'drizzle-orm'
import { apps, githubInstallations, type LastPush } from '../../../drizzle/schema.ts'
import type { Db } from '../base/db.ts'
import { type App, appFields } from '../teams/access.ts'
import type { InstallationChange, Push, RepositoriesRemoved, RepositoryRenamed } from './payloads.ts'

/* What events of GitHub make of our tables. */

/**
 * The apps that a push is to be deployed to: those of its repository and branch, by the installation that reaches it and by
 * the number of the repository, since names can be taken over by others. Not those that a newer push has reached already.
 *
 * They are held until the transaction ends, so that of two pushes the one that is processed later finds what the other has
 * left, in whichever order they are processed.
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
 * Whether a push is newer than the last one. Deliveries come in any order, above all those that are asked for again after
 * an outage, and each of three clues to their order can mislead: that one goes on from what the other has left, where the
 * branch was set back in between; GitHub's clock, which is one for the whole repository and read late at times; the order
 * in which they came. Any two outvote the third, and what stands first here outvotes what comes after it.
 */
export function isNewer(push: LastPush, last: LastPush): boolean {
  if (push.repoId !== last.repoId || push.ref !== last.ref) return true
  if (push.before === last.before && push.after === last.after && push.pushedAt === last.pushedAt) return false
  const succession = Number(push.before === last.after) - Number(push.after === last.before)
  const clock = push.pushedAt === null || last.pushedAt === null ? 0 : Math.sign(push.pushedAt - last.pushedAt)
  const arrival = Math.sign(push.receivedAt - last.receivedAt)
  return 4 * succession + 3 * clock + 2 * arrival >= 0
}

/** An app that is not deployed by itself any more, or is known by another name at GitHub. */
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

/**
 * Forgets an installation that is no more. Its apps, and no others, are not deployed by themselves any more; what runs of
 * them goes on.
 */
export async function removeInstallation(tx: Db, installationId: number) {
  const stopped = await stopAutoDeploy(tx, eq(apps.githubInstallationId, installationId))
  const [removed] = await tx.delete(githubInstallations).where(ofInstallation(installationId)).returning({
    teamId: githubInstallations.teamId,
    accountLogin: githubInstallations.accountLogin
  })
  return { removed, stopped }
}

/**
 * Notes that an installation is suspended, or is not any more.
 *
 * @returns undefined when it is unknown, or what is known of it is newer
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

/** An installation has lost repositories: their apps are not deployed by themselves any more. */
export async function loseRepositories(
  tx: Db,
  { installationId, repoIds }: RepositoriesRemoved
): Promise<ChangedApp[]> {
  const ids = sql`${`{${repoIds.join(',')}}`}::bigint[]`
  return stopAutoDeploy(tx, and(eq(apps.githubInstallationId, installationId), sql`${apps.githubRepoId} = any(${ids})`))
}

/** Apps are told by the number of their repository; its name is for people. */
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

/** NOTIFY with the id of an installation that has changed: what instances remember of it is out of date. */
export const INSTALLATION_CHANNEL = 'rhone_github_installation'

/** Tells all instances when the transaction commits. */
export async function announceInstallation(tx: Db, installationId: number): Promise<void> {
  await tx.execute(sql`select pg_notify(${INSTALLATION_CHANNEL}, ${String(installationId)})`)
}
