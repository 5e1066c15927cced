import { listAll } from './client.ts'
import { defineCommand, type Output, UsageError } from './command.ts'
import { connect } from './connect.ts'
import { facts, table } from './format.ts'

interface Incident {
  readonly id: string
  readonly title: string
  readonly severity: string
  readonly components: readonly string[]
  readonly openedAt: string
  readonly closedAt: string | null
  readonly updates: readonly { readonly at: string; readonly message: string }[]
}

const PATH = '/admin/incidents'
const SEVERITIES = ['critical', 'high', 'medium', 'low']

export const incidentOpen = defineCommand({
  name: 'incident open',
  examples: [
    "rhone incident open 'Deployments do not start' --severity high --component deployments --message 'Apps that run are not affected.'"
  ],
  summary: 'Publish an incident on the status page. Opening the same title again changes nothing.',
  args: ['<title>'],
  options: {
    severity: {
      type: 'string',
      value: SEVERITIES.join('|'),
      description: 'critical: the components are down; high, medium: degraded; low: they work.'
    },
    component: {
      type: 'string',
      multiple: true,
      value: '<name>',
      description: 'An affected component, as named in /status.json; repeat for more.'
    },
    message: { type: 'string', value: '<text>', description: 'The message to users, in plain words.' }
  },
  printsData: true,
  async run(input) {
    const { args, options, note } = input
    const { severity, component: components = [], message } = options
    if (severity === undefined || !SEVERITIES.includes(severity))
      throw new UsageError(`--severity: must be one of ${SEVERITIES.join(', ')}`)
    const opened = await (await connect(input)).request<Incident>('POST', PATH, {
      title: args[0],
      severity,
      components,
      ...(message !== undefined && { message })
    })
    if (severity === 'critical' || severity === 'high')
      note('Copy docs/incidents/TEMPLATE.md now, and fill in its timeline as you go.')
    return show(opened)
  }
})

export const incidentUpdate = defineCommand({
  name: 'incident update',
  examples: [
    "rhone incident update 0197a4b2-5d1c-7c3e-9a51-0c4f6e1b2d3a 'We know the cause, and write again at 14:35 UTC.'"
  ],
  summary: 'Publish an update to an incident. Repeating the same message changes nothing.',
  args: ['<id>', '<message>'],
  printsData: true,
  async run(input) {
    const [id, message] = input.args
    const client = await connect(input)
    return show(await client.request<Incident>('POST', `${pathOf(id)}/updates`, { message }))
  }
})

export const incidentClose = defineCommand({
  name: 'incident close',
  examples: ["rhone incident close 0197a4b2-5d1c-7c3e-9a51-0c4f6e1b2d3a --message 'Deployments start again.'"],
  summary: 'Close an incident. Closing it again changes nothing.',
  args: ['<id>'],
  options: { message: { type: 'string', value: '<text>', description: 'A final message to users.' } },
  printsData: true,
  async run(input) {
    const { args, options, note } = input
    const [id] = args
    const { message } = options
    const client = await connect(input)
    const closed = await client.request<Incident>(
      'POST',
      `${pathOf(id)}/close`,
      message === undefined ? {} : { message }
    )
    if (closed.severity === 'critical' || closed.severity === 'high')
      note('A review is due within 48 hours: `rhone incident review` prints a draft.')
    return show(closed)
  }
})

export const incidentList = defineCommand({
  name: 'incident list',
  summary: 'List the incidents, newest first.',
  printsData: true,
  async run(input) {
    const found = await listAll<Incident>(await connect(input), PATH)
    const rows = found.map(({ id, severity, openedAt, closedAt, title }) => [
      id,
      severity,
      minute(openedAt),
      closedAt === null ? 'open' : minute(closedAt),
      title
    ])
    return { data: found, text: table(['id', 'severity', 'opened', 'closed', 'title'], rows) }
  }
})

export const incidentReview = defineCommand({
  name: 'incident review',
  examples: ['rhone incident review 0197a4b2-5d1c-7c3e-9a51-0c4f6e1b2d3a > docs/incidents/2026-11-29-deployments.md'],
  summary: 'Print a draft review, based on docs/incidents/TEMPLATE.md.',
  args: ['<id>'],
  printsData: true,
  async run(input) {
    const [id] = input.args
    const found = await (await connect(input)).request<Incident>('GET', pathOf(id))
    return { data: found, text: reviewOf(found) }
  }
})

/** A review with the headings of `docs/incidents/TEMPLATE.md`. */
export function reviewOf({ title, severity, components, openedAt, closedAt, updates }: Incident): string {
  const published = updates.toReversed().map(({ at, message }) => [at, `users informed: ${cell(message)}`] as const)
  const timeline = [
    [openedAt, 'opened'] as const,
    ...published,
    ...(closedAt === null ? [] : [[closedAt, 'closed'] as const])
  ].toSorted(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
  return `# Incident: ${title}

| | |
|---|---|
| Began, detected, resolved (UTC) | , ${minute(openedAt)}, ${closedAt === null ? '' : minute(closedAt)} |
| Severity | ${severity} |
| Affected components | ${components.join(', ') || '-'} |
| Affected users | |
| Error budget used | |
| Lead, communication, scribe | by role |

## What happened

## Timeline (UTC)

| time | what |
|---|---|
| | the first bad request |
| | the alert |
| | acknowledged |
| | cause known |
| | mitigated |
${timeline.map(([at, what]) => `| ${minute(at)} | ${what} |`).join('\n')}
| | over, and verified |

## Why

## What went well, what did not, where we were lucky

## What changes

| what | kind (prevent, detect, mitigate) | owner | due |
|---|---|---|---|
| | | | |`
}

const cell = (text: string) => text.replaceAll('|', '\\|').replaceAll('\n', ' ')
const minute = (iso: string) => `${iso.slice(0, 10)} ${iso.slice(11, 16)}`
const pathOf = (id = '') => `${PATH}/${encodeURIComponent(id)}`

function show(incident: Incident): Output {
  const { id, title, severity, components, openedAt, closedAt, updates } = incident
  const text = facts({
    id,
    title,
    severity,
    components: components.join(', ') || '-',
    opened: openedAt,
    closed: closedAt ?? '-',
    'last update': updates[0]?.message ?? '-'
  })
  return { data: incident, text }
}
