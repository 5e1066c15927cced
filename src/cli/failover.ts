import type { Promotion } from '../workflows/failover/promote.ts'
import { CommandError, defineCommand, UsageError } from './command.ts'
import { facts, table } from './format.ts'

export const failover = defineCommand({
  name: 'failover',
  summary:
    'Promote a standby of DATABASE_URL after its primary has failed; refused while the primary answers. Stop the old host first.',
  examples: ['rhone failover --check', 'rhone failover --to db-2.internal:5432 --max-lag 5'],
  printsData: true,
  options: {
    check: {
      type: 'boolean',
      description: 'Show the hosts and the plan without promoting; exit 1 if it would be refused.'
    },
    to: {
      type: 'string',
      value: '<host:port>',
      description: 'The standby to promote. Default: the most advanced one.'
    },
    'max-lag': {
      type: 'string',
      value: '<seconds|any>',
      description: 'Seconds of the latest changes that may be lost. Default: 60.'
    }
  },
  async run({ config: read, options, note }) {
    const maxLag = parseSeconds(options['max-lag'] ?? '60')
    const config = await read()
    const { fenceOf, sightingOf } = await import('../wiring/primary-database.ts')
    const { hostUrls, postgresTargets } = await import('../../plugins/lib/postgres.ts')
    const { planFailover, promote } = await import('../workflows/failover/promote.ts')

    const url = config.database.adminUrl ?? config.database.directUrl
    if (url === null || hostUrls(url).length < 2)
      throw new CommandError(
        'DATABASE_URL has a single host: list the primary and its standbys, as in postgres://user:password@a:5432,b:5432/db'
      )
    const fence = fenceOf(config, (error: unknown) =>
      note(`the new timeline cannot be stored in DATA_DIR (${(error as Error).message})`)
    )
    const plan = await planFailover(postgresTargets(url), {
      to: options.to,
      maxLag,
      seen: sightingOf(config),
      fence
    })
    const shown = table(
      ['host', 'role', 'timeline', 'position', 'last change', 'problem'],
      plan.hosts.map(({ address, role, timeline, position, lastChange, problem }) => [
        address,
        role,
        String(timeline ?? '-'),
        position ?? '-',
        lastChange === null ? '-' : `${lastChange.toFixed(1)} s ago`,
        problem ?? ''
      ])
    )
    if (plan.refusal !== undefined || options.check === true) {
      const { refusal = null, candidate = null, lag = null, hosts } = plan
      return {
        data: { promoted: null, candidate, lag, refusal, hosts },
        text: `${shown}\n\n${refusal === null ? `would promote ${candidate}; ${lossOf(lag)}` : `refused: ${refusal}`}`,
        failed: refusal !== null
      }
    }
    const promotion = await promote(plan, fence)
    const { lag = null, hosts } = plan
    return { data: { ...promotion, lag, hosts }, text: `${shown}\n\n${lossOf(lag)}\n${told(promotion)}` }
  }
})

function lossOf(lag: number | null): string {
  if (lag === null) return 'the loss is unknown: no server with this DATA_DIR has recorded the last change'
  return lag === 0 ? 'no change recorded by a server here is lost' : `the last ${Math.ceil(lag)} s of changes are lost`
}

function told({ promoted, timeline, seconds, next }: Promotion): string {
  const done = facts({ promoted, timeline: String(timeline), 'writable after': `${seconds.toFixed(1)} s` })
  return `${done}\n\nnext:\n${next.map((step, at) => `${at + 1}. ${step}`).join('\n')}`
}

function parseSeconds(text: string): number {
  if (text === 'any') return Number.POSITIVE_INFINITY
  if (!/^\d{1,7}$/.test(text)) throw new UsageError(`--max-lag: "${text}" must be a number of seconds, or any`)
  return Number(text)
}
