import { eq } from 'drizzle-orm'
import { apps, teamMembers, teams, users } from '../../../drizzle/schema.ts'
import { errors } from '../../../plugins/lib/errors.ts'
import type { Db } from '../base/db.ts'
import type { SecretBox } from '../base/secret-box.ts'
import { teamNamed } from '../teams/access.ts'
import { type EnvValue, readEnv } from './env-snapshot.ts'

const teamFields = { id: teams.id, slug: teams.slug, name: teams.name, plan: teams.plan }
const memberFields = { username: users.username, email: users.email, role: teamMembers.role }
const appFields = {
  id: apps.id,
  slug: apps.slug,
  name: apps.name,
  githubRepo: apps.githubRepo,
  gitUrl: apps.gitUrl,
  branch: apps.githubBranch,
  rootDirectory: apps.rootDirectory,
  healthPath: apps.healthPath,
  healthGrace: apps.healthGrace,
  port: apps.port,
  region: apps.region,
  autoDeploy: apps.autoDeploy
}

/** What somebody needs who creates a team once more: its members, and its apps with their settings and env vars. */
export async function exportTeam(db: Db, box: SecretBox, idOrSlug: string) {
  const [team] = await db.select(teamFields).from(teams).where(teamNamed(idOrSlug))
  if (team === undefined) throw errors.notFound('team')
  const members = await db
    .select(memberFields)
    .from(teamMembers)
    .innerJoin(users, eq(users.id, teamMembers.userId))
    .where(eq(teamMembers.teamId, team.id))
    .orderBy(users.username)
  const rows = await db.select(appFields).from(apps).where(eq(apps.teamId, team.id)).orderBy(apps.slug)
  const exported: ((typeof rows)[number] & { readonly env: readonly EnvValue[] })[] = []
  for (const app of rows) exported.push({ ...app, env: await readEnv(db, box, app.id) })
  return { ...team, members, apps: exported }
}

export type TeamExport = Awaited<ReturnType<typeof exportTeam>>
