import { type Client, listAll } from '../client.ts'
import { CommandError, type Input, type Output, UsageError } from '../command.ts'
import { follow } from '../event-stream.ts'
import { facts } from '../format.ts'
import { type Colour, painted, spinner, type Terminal, withoutControls } from '../terminal.ts'
import { type App, pathOf } from './app.ts'

/** A deployment as the API sends it. */
export interface Deployment {
  readonly id: string
  readonly appId: string
  readonly status: string
  readonly trigger: string
  readonly commitSha: string | null
  readonly commitMessage: string | null
  readonly branch: string | null
  /** The uploaded folder that it was built from. */
  readonly sourceId: string | null
  readonly image: string | null
  readonly errorMessage: string | null
  readonly errorLog: string | null
  readonly buildDurationMs: number | null
  readonly deployDurationMs: number | null
  readonly createdAt: string
}

const OVER = new Set(['live', 'build_failed', 'deploy_failed', 'cancelled', 'superseded'])
const COLOURS: Readonly<Record<string, Colour>> = {
  live: 'green',
  build_failed: 'red',
  deploy_failed: 'red',
  cancelled: 'grey',
  superseded: 'grey'
}
/** What each status means to the user who waits. */
const DOING: Readonly<Record<string, string>> = {
  pending: 'waiting in the queue',
  cloning: 'fetching the source',
  analyzing: 'inspecting the source',
  building: 'building',
  pushing: 'storing the image',
  built: 'built',
  deploying: 'starting it'
}

export const isOver = ({ status }: Deployment) => OVER.has(status)

/** The status in words, coloured where there are colours. */
export function statusOf(terminal: Terminal, { status }: Deployment): string {
  return painted(terminal, COLOURS[status] ?? 'yellow', status.replace('_', ' '))
}

/** A short description of what is deployed. */
export function subjectOf({ commitSha, commitMessage, branch, sourceId, image, trigger }: Deployment): string {
  const commit = [commitSha?.slice(0, 8), commitMessage].filter(Boolean).join(' ')
  const upload = sourceId !== null && 'an uploaded folder'
  return withoutControls(commit || (trigger === 'rollback' && image) || branch || upload || image || '-').slice(0, 60)
}

export function describe(terminal: Terminal, deployment: Deployment): string {
  const { id, trigger, branch, errorMessage, errorLog, createdAt, buildDurationMs, deployDurationMs } = deployment
  const told = facts({
    deployment: id,
    status: statusOf(terminal, deployment),
    of: subjectOf(deployment),
    ...(branch && { branch }),
    'begun by': trigger,
    begun: createdAt,
    ...(buildDurationMs !== null && { 'build time': seconds(buildDurationMs) }),
    ...(deployDurationMs !== null && { 'start time': seconds(deployDurationMs) }),
    ...(errorMessage !== null && { problem: withoutControls(errorMessage) })
  })
  return errorLog === null ? told : `${told}\n\n${withoutControls(errorLog).trimEnd()}`
}

const seconds = (milliseconds: number) => `${(milliseconds / 1_000).toFixed(1)} s`

/**
 * Finds a deployment by its id or the beginning of it.
 * @throws CommandError when none or several match
 */
export async function findDeployment(client: Client, app: string, id: string): Promise<Deployment> {
  if (/^[0-9a-f-]{36}$/i.test(id)) return client.request('GET', `${pathOf(app)}/deployments/${id}`)
  if (!/^[0-9a-f][0-9a-f-]{3,}$/i.test(id))
    throw new UsageError(`"${id}" is not a deployment id; rhone deployments list ${app} shows them`)
  const found = (await listAll<Deployment>(client, `${pathOf(app)}/deployments`)).filter(deployment =>
    deployment.id.startsWith(id.toLowerCase())
  )
  if (found.length === 1) return found[0]!
  throw new CommandError(
    found.length === 0
      ? `no deployment of ${app} has an id that begins with ${id}`
      : `${found.length} deployments of ${app} have an id that begins with ${id}`
  )
}

type FollowInput = Pick<Input, 'terminal' | 'note' | 'interruption'>

/**
 * Prints a deployment's log until it is over.
 * @returns the URL of the app when it is live; a failure otherwise
 * @throws CommandError when the user stops watching, with how to continue
 */
export async function watch(input: FollowInput, client: Client, app: App, begun: Deployment): Promise<Output> {
  const { terminal, note } = input
  const path = `${pathOf(app.slug)}/deployments/${begun.id}`
  const signal = input.interruption()
  const turning = spinner(terminal, text => process.stderr.write(text))
  const say = (text: string) => {
    turning.clear()
    note(text.replace(/\n$/, ''))
  }
  try {
    for await (const { event, data } of follow(client, `${path}/logs`, { signal, last: 'complete', onGap: gap })) {
      if (event === 'log') say(withoutControls((JSON.parse(data) as { text: string }).text))
      if (event !== 'status') continue
      const { status } = JSON.parse(data) as { status: string }
      if (DOING[status] !== undefined) turning.show(`${app.slug} is ${DOING[status]}`)
    }
  } finally {
    turning.clear()
  }
  if (signal.aborted) throw new CommandError(goesOn(app.slug, begun.id))

  const [ended, now] = await Promise.all([
    client.request<Deployment>('GET', path),
    client.request<App>('GET', pathOf(app.slug))
  ])
  if (ended.status === 'live') return { data: { ...ended, url: now.url }, text: now.url ?? '' }
  note(`${statusOf(terminal, ended)}: ${whyNot(ended)}`)
  return { data: { ...ended, url: now.url }, text: '', failed: ended.status !== 'superseded' }

  function gap(why: string): void {
    say(`(${why}; trying again)`)
  }
}

function whyNot({ status, errorMessage }: Deployment): string {
  if (errorMessage !== null) return withoutControls(errorMessage)
  if (status === 'cancelled') return 'it was cancelled'
  return 'a newer deployment has replaced it'
}

function goesOn(app: string, id: string): string {
  return [
    'you stopped watching; the deployment goes on.',
    `  to see the outcome:  rhone deployments show ${id.slice(0, 8)} --app ${app}`,
    `  to cancel it:        rhone deployments cancel ${id.slice(0, 8)} --app ${app}`
  ].join('\n')
}
