import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { parse } from 'yaml'

export interface StackOptions {
  /** The origin of the monitored server. */
  readonly target: string
  /** Its METRICS_TOKEN; null if it accepts this machine without one. */
  readonly token: string | null
  /** Alerts are posted below this URL, by receiver name, instead of to pager, chat and mail. */
  readonly receiver: string
  /** For configuration and data; must be empty. */
  readonly directory: string
  /** Must be free. */
  readonly ports: { readonly prometheus: number; readonly alertmanager: number }
  /** Seconds between scrapes, and between evaluations of the rules. */
  readonly interval?: number
  /** Divides all windows and durations of the rules, so that hours take minutes. */
  readonly speed?: number
}

export interface Stack {
  readonly prometheus: string
  readonly alertmanager: string
  stop(): Promise<void>
}

/**
 * Starts this machine's Prometheus and Alertmanager on loopback, with the rules and routes of this folder. Targets, intervals
 * and receivers are replaced; everything else is as in production.
 *
 * @throws Error when a binary is missing or ends at once
 */
export async function startStack(options: StackOptions): Promise<Stack> {
  const { directory, ports, interval = 5 } = options
  await writePrometheusConfig(options, ports.alertmanager, interval)
  await writeAlertmanagerConfig(options)

  const children = [
    start('prometheus-alertmanager', [
      `--config.file=${join(directory, 'alertmanager.yml')}`,
      `--storage.path=${join(directory, 'alertmanager')}`,
      `--web.listen-address=127.0.0.1:${ports.alertmanager}`,
      '--cluster.listen-address='
    ]),
    start('prometheus', [
      `--config.file=${join(directory, 'prometheus.yml')}`,
      `--storage.tsdb.path=${join(directory, 'prometheus')}`,
      `--web.listen-address=127.0.0.1:${ports.prometheus}`,
      '--storage.tsdb.allow-overlapping-blocks',
      '--rules.alert.resend-delay=1s'
    ])
  ]
  const stack: Stack = {
    prometheus: `http://127.0.0.1:${ports.prometheus}`,
    alertmanager: `http://127.0.0.1:${ports.alertmanager}`,
    stop: async () => void (await Promise.all(children.map(({ process }) => end(process))))
  }
  try {
    const failed = Promise.race(children.map(({ failure }) => failure))
    await Promise.race([failed, Promise.all([answers(stack.prometheus), answers(stack.alertmanager)])])
    return stack
  } catch (error) {
    await stack.stop()
    throw error
  }
}

async function writePrometheusConfig(options: StackOptions, alertmanagerPort: number, interval: number): Promise<void> {
  const { target, token, directory, speed = 1 } = options
  const { host, protocol } = new URL(target)
  const config = parse(await read('prometheus.yml'))
  config.global = { scrape_interval: `${interval}s`, evaluation_interval: `${interval}s` }
  config.alerting.alertmanagers = [{ static_configs: [{ targets: [`127.0.0.1:${alertmanagerPort}`] }] }]
  const [rhone] = config.scrape_configs
  config.scrape_configs = [
    {
      ...rhone,
      scheme: protocol.slice(0, -1),
      scrape_interval: `${interval}s`,
      scrape_timeout: `${interval}s`,
      static_configs: [{ targets: [host] }],
      authorization: token === null ? undefined : { credentials: token }
    }
  ]
  await mkdir(directory, { recursive: true })
  await writeFile(join(directory, 'prometheus.yml'), JSON.stringify(config), { mode: 0o600 })
  for (const file of ['recording.yml', 'alerts.yml']) {
    const rules = parse(await read(file))
    for (const group of rules.groups) {
      group.interval = `${interval}s`
      group.rules = group.rules.map((rule: Rule) => hastened(rule, speed))
    }
    await writeFile(join(directory, file), JSON.stringify(rules))
  }
}

interface Rule {
  readonly expr: string
  readonly for?: string
  readonly keep_firing_for?: string
}

function hastened(rule: Rule, speed: number): Rule {
  const shorter = (duration: string) => `${Math.ceil((secondsOf(duration) * 1000) / speed)}ms`
  return {
    ...rule,
    expr: rule.expr.replaceAll(/\[(\d+[smhd])\]/g, (_range, duration) => `[${shorter(duration)}]`),
    ...(rule.for && { for: shorter(rule.for) }),
    ...(rule.keep_firing_for && { keep_firing_for: shorter(rule.keep_firing_for) })
  }
}

function secondsOf(duration: string): number {
  return Number(duration.slice(0, -1)) * { s: 1, m: 60, h: 3600, d: 86_400 }[duration.at(-1)!]!
}

async function writeAlertmanagerConfig({ receiver, directory, speed = 1 }: StackOptions): Promise<void> {
  const config = parse(await read('alertmanager.yml'))
  if (speed > 1) hastenRoutes(config.route)
  config.receivers = config.receivers.map(({ name }: { name: string }) => ({
    name,
    webhook_configs: [{ url: `${receiver}/${name}`, send_resolved: name !== 'heartbeat' }]
  }))
  await writeFile(join(directory, 'alertmanager.yml'), JSON.stringify(config))
}

interface Route {
  group_wait?: string
  group_interval?: string
  routes?: Route[]
}

function hastenRoutes(route: Route): void {
  route.group_wait = '0s'
  route.group_interval = '1s'
  route.routes?.forEach(hastenRoutes)
}

const read = (file: string) => readFile(join(import.meta.dirname, file), 'utf8')

interface Child {
  readonly process: ChildProcess
  /** Rejects if the process cannot be started, or exits. */
  readonly failure: Promise<never>
}

function start(program: string, args: readonly string[]): Child {
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'] })
  const lines: string[] = []
  child.stderr.setEncoding('utf8').on('data', text => {
    lines.push(text)
    if (lines.length > 50) lines.shift()
  })
  const failure = new Promise<never>((_resolve, reject) => {
    child.once('error', error => reject(new Error(`${program} cannot be started: ${error.message}`)))
    child.once('exit', code => reject(new Error(`${program} has ended with ${code}:\n${lines.join('')}`)))
  })
  failure.catch(() => {})
  return { process: child, failure }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
  const exited = once(child, 'exit')
  child.kill('SIGTERM')
  await exited
}

/** Bounded, so that a program which hangs at its start is reported. */
async function answers(url: string): Promise<void> {
  for (let attempt = 0; attempt < 300; attempt++) {
    const reply = await fetch(`${url}/-/ready`).catch(() => null)
    await reply?.body?.cancel()
    if (reply?.ok) return
    await delay(100)
  }
  throw new Error(`${url} was not ready within 30 s`)
}
