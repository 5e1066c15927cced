import { rename, writeFile } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { send } from './client.ts'
import { CommandError, defineCommand, UsageError } from './command.ts'
import { type Host, locate } from './connect.ts'
import { table } from './format.ts'

/** Two of three attempts decide. */
const NEEDED = 2
const TIMEOUT = 10_000
/** Milliseconds between two polls of a deployment. */
const LOOK = 2_000

interface Target {
  readonly url: string
  /** Null: without a token, checks that need one are skipped. */
  readonly token: string | null
  /** The app to deploy; null: none is deployed. */
  readonly app: string | null
  readonly deployTimeout: number
}

interface Check {
  readonly name: string
  /** Maximum number of attempts; with one, that one decides. */
  readonly attempts: 1 | 3
  /** @returns a description of the problem; undefined if there is none */
  readonly run: (target: Target) => Promise<string | undefined>
}

interface Finding {
  readonly name: string
  readonly ok: boolean
  /** The problem found by the last deciding attempt. */
  readonly problem: string | null
  readonly attempts: number
  /** Duration of the last attempt in seconds. */
  readonly seconds: number
}

/** `unknown`: the reference is unreachable too, so the fault may be on this side. */
type Verdict = 'up' | 'down' | 'unknown'

const CHECKS: readonly Check[] = [
  {
    name: 'ping',
    attempts: 3,
    async run(target) {
      const { status, body } = await ask(target, '/api/v1/ping')
      return unless(200, status) ?? (/"pong": ?true/.test(body) ? undefined : 'the reply is not {"pong":true}')
    }
  },
  { name: 'ready', attempts: 3, run: async target => unless(200, (await ask(target, '/ready')).status) },
  {
    name: 'login',
    attempts: 3,
    async run(target) {
      const { status, body } = await ask(target, '/login', { accept: 'text/html' })
      return unless(200, status) ?? (/<h1>/.test(body) ? undefined : 'the reply is not an HTML page')
    }
  },
  {
    name: 'token',
    attempts: 3,
    run: async target => unless(200, (await ask(target, '/api/v1/me', bearer(target))).status)
  },
  { name: 'deploy', attempts: 1, run: deploy }
]

export const probe = defineCommand({
  name: 'probe',
  examples: [
    'rhone probe --url https://rhone.example.com --reference https://example.com',
    'rhone probe --textfile /var/lib/node_exporter/rhone.prom --heartbeat https://heartbeat.example/abc',
    'rhone probe --deploy sample'
  ],
  summary: 'Probe a server from outside. Exit code 0: it is up, 1: it is down, 3: this machine may be offline.',
  options: {
    reference: {
      type: 'string',
      value: '<url>',
      description: 'A host that is always up. If it cannot be reached either, the result is unknown.'
    },
    deploy: { type: 'string', value: '<app>', description: 'Also deploy this app, and wait until it is live.' },
    'deploy-timeout': {
      type: 'string',
      value: '<seconds>',
      description: 'Seconds that the deployment may take. Default: 600.'
    },
    pause: { type: 'string', value: '<seconds>', description: 'Seconds between two attempts of a check. Default: 2.' },
    textfile: {
      type: 'string',
      value: '<file>',
      description: 'Write the result for the textfile collector of node_exporter.'
    },
    heartbeat: {
      type: 'string',
      value: '<url>',
      description: 'Request this URL when the server is up; a monitor alerts when the requests stop.'
    }
  },
  printsData: true,
  async run(input) {
    const { options, note } = input
    const pause = secondsOf('pause', options.pause, 2, 0)
    const reference = urlOf('reference', options.reference)
    const heartbeat = urlOf('heartbeat', options.heartbeat)
    const target = await targetOf(input)
    const checks = CHECKS.filter(
      ({ name }) => (name !== 'token' || target.token !== null) && (name !== 'deploy' || target.app !== null)
    )

    const findings: Finding[] = []
    for (const check of checks) findings.push(await tryOut(check, target, pause))
    const verdict = await judge(findings, reference)
    const data = { url: target.url, verdict, checks: findings }
    if (options.textfile !== undefined) await writeMetrics(options.textfile, data)
    if (heartbeat !== null && verdict === 'up') await beat(heartbeat, note)

    const rows = findings.map(({ name, ok, attempts, seconds, problem }) => [
      name,
      ok ? 'ok' : 'FAILED',
      String(attempts),
      seconds.toFixed(2),
      problem ?? ''
    ])
    const text = `${table(['check', 'result', 'attempts', 'seconds', 'problem'], rows)}\n${SENTENCES[verdict]}`
    return { data, text, failed: verdict === 'down', ...(verdict === 'unknown' && { exitCode: 3 }) }
  }
})

const SENTENCES: Readonly<Record<Verdict, string>> = {
  up: 'The server is up.',
  down: 'The server is down.',
  unknown: 'The reference cannot be reached either: this machine may be offline; the state of the server is unknown.'
}

async function targetOf(input: Host & { options: Record<string, unknown> }): Promise<Target> {
  const { options } = input
  const place = await locate(input)
  const app = typeof options.deploy === 'string' ? options.deploy : null
  const token = await place.token().catch((error: unknown) => {
    // Without an app, the other checks can still run.
    if (app !== null || !(error instanceof CommandError)) throw error
    return null
  })
  const deployTimeout = secondsOf('deploy-timeout', options['deploy-timeout'] as string | undefined, 600, 1)
  return { url: place.url, token, app, deployTimeout }
}

/**
 * A check has failed after two failed attempts, and succeeded after two successful ones: one lost packet is no outage.
 */
async function tryOut({ name, attempts, run }: Check, target: Target, pause: number): Promise<Finding> {
  const needed = attempts === 1 ? 1 : NEEDED
  const problems: (string | undefined)[] = []
  for (;;) {
    const began = performance.now()
    problems.push(await run(target).catch(explain))
    const seconds = (performance.now() - began) / 1_000
    const bad = problems.filter(problem => problem !== undefined)
    const isDecided = bad.length >= needed || problems.length - bad.length >= needed
    if (isDecided) {
      const ok = bad.length < needed
      return { name, ok, problem: ok ? null : bad.at(-1)!, attempts: problems.length, seconds }
    }
    await delay(pause * 1_000)
  }
}

async function judge(findings: readonly Finding[], reference: URL | null): Promise<Verdict> {
  if (findings.every(({ ok }) => ok)) return 'up'
  if (reference === null) return 'down'
  const isReachable = await send(reference, { method: 'HEAD' }, AbortSignal.timeout(TIMEOUT)).then(
    () => true,
    () => false
  )
  return isReachable ? 'down' : 'unknown'
}

async function deploy(target: Target): Promise<string | undefined> {
  const headers = { ...bearer(target), 'content-type': 'application/json' }
  const path = `/api/v1/apps/${encodeURIComponent(target.app!)}`
  const started = await ask(target, `${path}/deploy`, headers, 'POST', '{}')
  if (started.status !== 202) return unless(202, started.status)
  const { id } = JSON.parse(started.body) as { id: string }
  const end = performance.now() + target.deployTimeout * 1_000
  while (performance.now() < end) {
    const { status, body } = await ask(target, `${path}/deployments/${id}`, bearer(target))
    const deployment =
      status === 200 ? (JSON.parse(body) as { status: string; errorMessage: string | null }) : undefined
    if (deployment?.status === 'live') return undefined
    if (deployment !== undefined && ENDED.has(deployment.status))
      return `the deployment ${id} is ${deployment.status}${deployment.errorMessage ? `: ${deployment.errorMessage}` : ''}`
    await delay(LOOK)
  }
  return `the deployment ${id} is not live after ${target.deployTimeout} s`
}

const ENDED: ReadonlySet<string> = new Set(['build_failed', 'deploy_failed', 'cancelled', 'superseded'])

const bearer = ({ token }: Target) => ({ authorization: `Bearer ${token}` })

async function ask(
  { url }: Target,
  path: string,
  headers: Record<string, string> = {},
  method = 'GET',
  body?: string
): Promise<{ status: number; body: string }> {
  const init = { method, headers: { accept: 'application/json', ...headers }, ...(body !== undefined && { body }) }
  const reply = await send(new URL(path, url), init, AbortSignal.timeout(TIMEOUT))
  return { status: reply.status, body: await reply.text() }
}

const unless = (expected: number, status: number): string | undefined =>
  status === expected ? undefined : `answered ${status}, expected ${expected}`

const explain = (error: unknown): string => (error instanceof Error ? error.message : String(error))

async function beat(url: URL, note: (text: string) => void): Promise<void> {
  try {
    const reply = await send(url, {}, AbortSignal.timeout(TIMEOUT))
    await reply.body?.cancel()
    if (!reply.ok) note(`the heartbeat was answered with ${reply.status}`)
  } catch (error) {
    note(`the heartbeat could not be sent: ${explain(error)}`)
  }
}

interface Result {
  readonly url: string
  readonly verdict: Verdict
  readonly checks: readonly Finding[]
}

/** Atomic: node_exporter may be reading it. */
async function writeMetrics(file: string, { url, verdict, checks }: Result): Promise<void> {
  const target = new URL(url).host
  const each = (value: (check: Finding) => number) => (name: string) =>
    checks.map(check => `${name}{target="${target}",check="${check.name}"} ${value(check)}`).join('\n')
  const families: [name: string, help: string, lines: (name: string) => string][] = [
    [
      'rhone_probe_up',
      'Whether the server was up; absent if this machine may be offline.',
      name => (verdict === 'unknown' ? '' : `${name}{target="${target}"} ${verdict === 'up' ? 1 : 0}`)
    ],
    [
      'rhone_probe_conclusive',
      'Whether the state of the server is known.',
      name => `${name}{target="${target}"} ${verdict === 'unknown' ? 0 : 1}`
    ],
    ['rhone_probe_check_success', 'Whether a check succeeded.', each(({ ok }) => (ok ? 1 : 0))],
    ['rhone_probe_check_duration_seconds', 'Duration of its last attempt.', each(({ seconds }) => seconds)],
    [
      'rhone_probe_last_run_timestamp_seconds',
      'When this file was written.',
      name => `${name}{target="${target}"} ${Math.floor(Date.now() / 1_000)}`
    ]
  ]
  const text = families
    .map(([name, help, lines]) => `# HELP ${name} ${help}\n# TYPE ${name} gauge\n${lines(name)}\n`)
    .join('')
  const fresh = `${file}.${process.pid}.tmp`
  await writeFile(fresh, text, { mode: 0o644 })
  await rename(fresh, file)
}

function secondsOf(option: string, text: string | undefined, otherwise: number, least: number): number {
  if (text === undefined) return otherwise
  const seconds = Number(text)
  if (!/^\d+(\.\d+)?$/.test(text) || seconds < least || seconds > 86_400)
    throw new UsageError(`--${option}: "${text}" is not a number of seconds from ${least} to 86400`)
  return seconds
}

function urlOf(option: string, text: string | undefined): URL | null {
  if (text === undefined) return null
  const url = URL.parse(text)
  if (url === null || !/^https?:$/.test(url.protocol))
    throw new UsageError(`--${option}: "${text}" is not an http or https URL`)
  return url
}
