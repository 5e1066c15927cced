import { defineCommand } from './command.ts'
import { connect } from './connect.ts'
import { facts } from './format.ts'

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
