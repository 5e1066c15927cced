import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Status } from '../../schemas/status.ts'
import { statusPage } from '../../views/status.ts'
import { send } from './client.ts'
import { CommandError, defineCommand, UsageError } from './command.ts'
import { locate } from './connect.ts'

/** The status found, and whether the server itself reported it. */
interface Found {
  readonly status: Status
  readonly problem: string | null
}

export const statusRender = defineCommand({
  name: 'status render',
  examples: [
    'rhone status render --out /var/www/status',
    "rhone status render --out /var/www/status --notice 'We are moving to another data centre.'"
  ],
  summary:
    'Write the status page to a directory that another host serves; exits with 1 if the server cannot be reached.',
  options: {
    out: { type: 'string', value: '<directory>', description: 'The directory for index.html and status.json.' },
    notice: {
      type: 'string',
      value: '<text>',
      description: 'A sentence at the top of the page. Works without the server and its database.'
    }
  },
  printsData: true,
  async run(input) {
    const { out, notice } = input.options
    if (out === undefined) throw new UsageError('--out: the directory to write to is required')
    const { status, problem } = await find((await locate(input)).url, out)
    await mkdir(out, { recursive: true })
    await replace(join(out, 'status.json'), `${JSON.stringify(status)}\n`)
    await replace(join(out, 'index.html'), statusPage(status, '', notice))
    const data = { out, status: status.status, reached: problem === null, problem }
    const text = problem === null ? `wrote ${out}: ${status.summary}` : `wrote ${out}, but ${problem}`
    return { data, text, failed: problem !== null }
  }
})

async function find(url: string, out: string): Promise<Found> {
  try {
    return { status: await ask(url), problem: null }
  } catch (error) {
    if (!(error instanceof CommandError)) throw error
    return { status: unreachable(await lastCopy(out)), problem: error.message }
  }
}

async function ask(url: string): Promise<Status> {
  const reply = await send(new URL('/status.json', url), { headers: { accept: 'application/json' } })
  const status = parse(await reply.text())
  if (!reply.ok || status === undefined)
    throw new CommandError(`${url} answered ${reply.status} without a status report`)
  return status
}

async function lastCopy(out: string): Promise<Status | undefined> {
  return parse(await readFile(join(out, 'status.json'), 'utf8').catch(() => ''))
}

function parse(text: string): Status | undefined {
  try {
    const found = JSON.parse(text) as Partial<Status> | null
    const isStatus = Array.isArray(found?.components) && Array.isArray(found?.incidents) && found.summary !== undefined
    return isStatus ? (found as Status) : undefined
  } catch {
    return undefined
  }
}

/** The last copy's history still holds; about the present, only that the server does not answer. */
function unreachable(last: Status | undefined): Status {
  const note = 'The server cannot be reached.'
  const components = last?.components ?? [
    { name: 'api', title: 'API and dashboard', status: 'unknown', note: null, uptime: null, days: [] } as const
  ]
  return {
    checkedAt: null,
    maintenance: null,
    incidents: [],
    ...last,
    status: 'outage',
    summary: note,
    components: components.map(component =>
      component.name === 'api'
        ? { ...component, status: 'outage', note }
        : { ...component, status: 'unknown', note: null }
    )
  }
}

/** Atomic: a web server may be reading it. */
async function replace(path: string, text: string): Promise<void> {
  const fresh = `${path}.${process.pid}.tmp`
  await writeFile(fresh, text)
  await rename(fresh, path)
}
