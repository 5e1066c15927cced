import type { MaintenanceState } from '../../plugins/maintenance/index.ts'
import { Unreachable } from './client.ts'
import { CommandError, defineCommand, type Output, UsageError } from './command.ts'
import { connect } from './connect.ts'
import { facts, parseMoment } from './format.ts'
import type { Host, MaintenanceSwitch } from './maintenance-switch.ts'

const PATH = '/admin/maintenance'

const direct = {
  type: 'boolean',
  description: 'Write to the database directly, in case no server answers.'
} as const

export const maintenanceOn = defineCommand({
  name: 'maintenance on',
  examples: ["rhone maintenance on --message 'Back at six' --until 2h", 'rhone maintenance on --direct'],
  summary: 'Close the platform to everyone except probes, scrapers, webhooks and operators.',
  options: {
    message: {
      type: 'string',
      value: '<text>',
      description: 'A message to visitors, in addition to the standard text.'
    },
    until: { type: 'string', value: '<moment>', description: 'When to reopen automatically: 30m, or a date.' },
    'retry-after': {
      type: 'string',
      value: '<seconds>',
      description: 'Seconds after which clients should retry, without --until. Default: 300.'
    },
    direct
  },
  printsData: true,
  async run(input) {
    const { message, until, direct, 'retry-after': retryAfter } = input.options
    const change = {
      enabled: true,
      ...(message !== undefined && { message }),
      ...(retryAfter !== undefined && { retryAfter: parseSeconds(retryAfter) }),
      ...(until !== undefined && { until: parseMoment(until) })
    }
    return operate(input, direct, to => to.change(change))
  }
})

export const maintenanceOff = defineCommand({
  name: 'maintenance off',
  examples: ['rhone maintenance off'],
  summary: 'Open the platform again.',
  options: { direct },
  printsData: true,
  async run(input) {
    return operate(input, input.options.direct, to => to.change({ enabled: false }))
  }
})

export const maintenanceStatus = defineCommand({
  name: 'maintenance status',
  summary: 'Show whether the platform is closed.',
  options: { direct },
  printsData: true,
  async run(input) {
    return operate(input, input.options.direct, to => to.read())
  }
})

async function switchFor(host: Host, direct = false): Promise<MaintenanceSwitch> {
  if (!direct) return serverSwitch(host)
  const { directSwitch } = await import('./maintenance-direct.ts')
  return directSwitch(host)
}

async function serverSwitch(host: Host): Promise<MaintenanceSwitch> {
  const client = await connect(host)
  return {
    read: () => client.request('GET', PATH),
    change: change => client.request('POST', PATH, change)
  }
}

/** Uses the switch; if no server answers, suggests an alternative. */
async function operate(
  host: Host,
  direct: boolean | undefined,
  use: (to: MaintenanceSwitch) => Promise<MaintenanceState>
): Promise<Output> {
  try {
    return show(await use(await switchFor(host, direct)))
  } catch (error) {
    if (!(error instanceof Unreachable)) throw error
    throw new CommandError(`${error.message}\nWith --direct, this command writes to the database instead.`)
  }
}

function show(state: MaintenanceState): Output {
  const { enabled, message, retryAfter, until, since, by } = state
  const text = facts({
    platform: enabled ? 'closed' : 'open',
    message: message ?? '-',
    'retry after': `${retryAfter} s`,
    until: until ?? '-',
    since: since ?? '-',
    by: by ?? '-'
  })
  return { data: state, text }
}

function parseSeconds(text: string): number {
  const seconds = Number(text)
  if (!/^\d+$/.test(text) || seconds < 1 || seconds > 86_400)
    throw new UsageError(`--retry-after: "${text}" is not a number of seconds from 1 to 86400`)
  return seconds
}
