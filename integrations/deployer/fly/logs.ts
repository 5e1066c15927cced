import { setTimeout as delay } from 'node:timers/promises'
import { Type } from '@sinclair/typebox'
import { type Remote, RemoteError } from '../../../plugins/lib/remote.ts'
import type { DeployedApp, RuntimeLine } from '../port.ts'
import type { MachinesApi } from './api.ts'
import { labelsOf } from './machines.ts'

const Entry = Type.Object({
  attributes: Type.Object({
    timestamp: Type.String(),
    message: Type.String(),
    level: Type.Optional(Type.String()),
    instance: Type.Optional(Type.String()),
    region: Type.Optional(Type.String()),
    meta: Type.Optional(Type.Object({ event: Type.Optional(Type.Object({ provider: Type.Optional(Type.String()) })) }))
  })
})
const Page = Type.Object({
  data: Type.Union([Type.Array(Entry), Type.Null()]),
  meta: Type.Object({ next_token: Type.Optional(Type.Union([Type.String(), Type.Null()])) })
})
type Attributes = (typeof Entry)['static']['attributes']

/** Milliseconds. */
export interface LogPace {
  /** Between polls for new lines. */
  readonly poll: number
  /** Longest pause between attempts while Fly does not answer. */
  readonly longestPause: number
}

const LEVELS: Readonly<Record<string, RuntimeLine['level']>> = {
  debug: 'debug',
  trace: 'debug',
  warn: 'warn',
  warning: 'warn',
  error: 'error',
  fatal: 'error'
}

/** Reads on from the last position, page by page, through any failures of Fly; ends only with the signal. */
export class FlyLogs {
  readonly #remote: Remote
  readonly #api: MachinesApi
  readonly #pace: LogPace

  constructor(remote: Remote, api: MachinesApi, pace: LogPace) {
    this.#remote = remote
    this.#api = api
    this.#pace = pace
  }

  async *follow(
    app: DeployedApp,
    name: string,
    since: Date | null,
    signal: AbortSignal
  ): AsyncGenerator<RuntimeLine | { readonly dropped: number }> {
    const deployments = new Map<string, string | null>()
    let token = ''
    let from = since ?? new Date()
    let failures = 0
    while (!signal.aborted) {
      let pause = 0
      try {
        const page = await this.#page(name, token, signal)
        const lines = (page.data ?? [])
          .map(({ attributes }) => attributes)
          .filter(line => token !== '' || timeOf(line) >= from)
        await this.#learn(name, lines, deployments, signal)
        for (const line of lines) {
          yield lineOf(app.id, line, deployments)
          from = new Date(timeOf(line).getTime() + 1)
        }
        token = page.meta.next_token || token
        failures = 0
        if (lines.length === 0) pause = this.#pace.poll
      } catch (error) {
        if (signal.aborted) return
        if (!(error instanceof RemoteError)) throw error
        if (token !== '' && isForgotten(error)) {
          // The position is lost: resume with what is left. How many lines are missing is unknown.
          token = ''
          yield { dropped: 1 }
        }
        failures += 1
        pause = Math.min(this.#pace.longestPause, this.#pace.poll * 2 ** failures) * (0.5 + Math.random() / 2)
      }
      if (pause > 0) await delay(pause, undefined, { signal }).catch(() => undefined)
    }
  }

  async #page(name: string, token: string, signal: AbortSignal) {
    const query = new URLSearchParams({ next_token: token })
    const path = `/api/v1/apps/${name}/logs?${query}`
    const { body } = await this.#remote.call({ operation: 'read_logs', path, schema: Page, signal })
    return body
  }

  /** Maps the machines that lines come from to their deployments, including machines that are gone. */
  async #learn(
    name: string,
    lines: readonly Attributes[],
    deployments: Map<string, string | null>,
    signal: AbortSignal
  ): Promise<void> {
    const unknown = lines.flatMap(({ instance }) => instance ?? []).filter(id => !deployments.has(id))
    if (unknown.length === 0) return
    for (const machine of await this.#api.machines(name, signal, { includeDeleted: true }))
      deployments.set(machine.id, labelsOf(machine)?.deploymentId ?? null)
    for (const id of unknown) if (!deployments.has(id)) deployments.set(id, null)
  }
}

/** Whether Fly no longer knows the position it gave us. */
function isForgotten({ status }: RemoteError): boolean {
  return status === 400 || status === 410 || status === 422
}

function timeOf({ timestamp }: Attributes): Date {
  const time = new Date(timestamp)
  return Number.isNaN(time.getTime()) ? new Date() : time
}

function lineOf(appId: string, line: Attributes, deployments: ReadonlyMap<string, string | null>): RuntimeLine {
  const { level = 'info', message, instance, region, meta } = line
  return {
    appId,
    deploymentId: (instance !== undefined && deployments.get(instance)) || null,
    at: timeOf(line),
    level: LEVELS[level.toLowerCase()] ?? 'info',
    source: (meta?.event?.provider ?? 'app') === 'app' ? 'app' : 'system',
    region: region ?? null,
    instance: instance ?? null,
    message
  }
}
