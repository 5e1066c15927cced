import type { TeamExport } from '../domain/apps/team-export.ts'
import { commandLineActor } from './actor.ts'
import { auditLogFor, withKeys } from './audit-log.ts'
import { defineCommand } from './command.ts'
import { connect } from './connect.ts'
import { facts, table } from './format.ts'

interface Team {
  readonly id: string
  readonly slug: string
  readonly plan: string
  readonly members: number
}

export const teamPlan = defineCommand({
  name: 'team plan',
  summary: 'Change the plan of a team (by slug or id): free, starter or pro.',
  args: ['<team>', '<plan>'],
  printsData: true,
  async run(input) {
    const [team, plan] = input.args
    const path = `/admin/teams/${encodeURIComponent(team!)}`
    const changed = await (await connect(input)).request<Team>('PATCH', path, { plan })
    const { id, slug, members } = changed
    return { data: changed, text: facts({ id, team: slug, plan: changed.plan, members: String(members) }) }
  }
})

export const teamExport = defineCommand({
  name: 'team export',
  summary:
    'Print the members and apps of a team (by slug or id) from the database; with --json, the values of env vars, too.',
  examples: ['rhone team export acme --json > acme.json'],
  args: ['<team>'],
  printsData: true,
  async run(input) {
    const { withDatabase } = await import('./database.ts')
    const { exportTeam } = await import('../domain/apps/team-export.ts')
    const { SecretBox } = await import('../domain/base/secret-box.ts')
    const { keys } = await withKeys(input)
    const log = await auditLogFor(input)
    const exported = await withDatabase(input, db =>
      db.transaction(async tx => {
        const team = await exportTeam(tx, new SecretBox(keys.encryption!), input.args[0]!)
        await log.write(tx, eventOf(team))
        return team
      })
    )
    return { data: exported, text: overviewOf(exported) }
  }
})

function eventOf({ id, slug }: TeamExport) {
  const [eventType, action, resource] = ['admin', 'export', 'team'] as const
  return { eventType, action, resource, resourceId: id, resourceName: slug, teamId: id, actor: commandLineActor() }
}

function overviewOf({ id, slug, name, plan, members, apps }: TeamExport): string {
  const people = members.map(({ username, email, role }) => [username, email ?? '-', role])
  const rows = apps.map(app => [app.slug, app.githubRepo ?? app.gitUrl ?? '-', app.env.map(({ key }) => key).join(' ')])
  return [
    facts({ id, team: slug, name, plan }),
    table(['member', 'e-mail', 'role'], people),
    table(['app', 'repository', 'env vars'], rows)
  ].join('\n\n')
}
