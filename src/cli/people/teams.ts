import { listAll } from '../client.ts'
import { defineCommand, UsageError } from '../command.ts'
import { connect } from '../connect.ts'
import { facts, table } from '../format.ts'

interface Team {
  readonly id: string
  readonly name: string
  readonly slug: string
  readonly plan: string
  readonly role: string
}

interface Member {
  readonly id: string
  readonly username: string
  readonly role: string
  readonly createdAt: string
}

interface Invitation {
  readonly email: string
  readonly role: string
  readonly expiresAt: string
  readonly token?: string
}

const pathOf = (team: string) => `/api/v1/teams/${encodeURIComponent(team)}`

export const teamsList = defineCommand({
  name: 'teams list',
  summary: 'List your teams, with your role in each.',
  printsData: true,
  forDeployers: true,
  async run(input) {
    const teams = await listAll<Team>(await connect(input), '/api/v1/teams')
    if (teams.length === 0) input.note('You are not in a team. Create one with: rhone teams create <name>')
    const rows = teams.map(({ slug, name, plan, role }) => [slug, name, plan, role])
    return {
      data: teams,
      text: teams.length === 0 ? '' : table(['team', 'name', 'plan', 'your role'], rows, input.terminal)
    }
  }
})

export const teamsCreate = defineCommand({
  name: 'teams create',
  summary: 'Create a team that you own.',
  examples: ['rhone teams create acme'],
  args: ['<name>'],
  options: {
    slug: { type: 'string', value: '<slug>', description: 'Its name in URLs. Default: derived from the name.' }
  },
  printsData: true,
  forDeployers: true,
  async run(input) {
    const { slug } = input.options
    const body = { name: input.args[0], ...(slug !== undefined && { slug }) }
    const team = await (await connect(input)).request<Team>('POST', '/api/v1/teams', body)
    input.note(`Invite others with: rhone teams invite ${team.slug} <email>`)
    return { data: team, text: facts({ team: team.slug, name: team.name, plan: team.plan, role: team.role }) }
  }
})

export const teamsMembers = defineCommand({
  name: 'teams members',
  summary: 'List the members of a team.',
  examples: ['rhone teams members acme'],
  args: ['<team>'],
  printsData: true,
  forDeployers: true,
  async run(input) {
    const members = await listAll<Member>(await connect(input), `${pathOf(input.args[0]!)}/members`)
    const rows = members.map(({ username, role, createdAt, id }) => [username, role, createdAt, id])
    return { data: members, text: table(['user', 'role', 'since', 'id'], rows) }
  }
})

export const teamsInvite = defineCommand({
  name: 'teams invite',
  summary: 'Invite a person to a team; the invitation is valid for seven days.',
  examples: ['rhone teams invite acme ada@example.com --role admin'],
  args: ['<team>', '<email>'],
  options: { role: { type: 'string', value: 'member|admin', description: 'Their role. Default: member.' } },
  printsData: true,
  forDeployers: true,
  async run(input) {
    const [team, email] = input.args
    const { role = 'member' } = input.options
    if (role !== 'member' && role !== 'admin') throw new UsageError(`--role: "${role}" must be member or admin`)
    const client = await connect(input)
    const invitation = await client.request<Invitation>('POST', `${pathOf(team!)}/invitations`, { email, role })
    if (invitation.token !== undefined)
      input.note('They accept with this token, which is shown only once. Send it to nobody else.')
    return {
      data: invitation,
      text: facts({
        email: invitation.email,
        role: invitation.role,
        until: invitation.expiresAt,
        ...(invitation.token !== undefined && { token: invitation.token })
      })
    }
  }
})
