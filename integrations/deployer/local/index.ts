import { dirname } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { type Static, Type } from '@sinclair/typebox'
import { parseOptions } from '../../../plugins/lib/options.ts'
import { identify, waitForExit } from '../../../plugins/lib/processes.ts'
import {
  DeployError,
  type DeployedApp,
  type Deployer,
  type Release,
  type RolloutContext,
  type RuntimeLine
} from '../port.ts'
import { layoutOf, readPort } from './layout.ts'
import {
  type DestroyRequest,
  type Limits,
  type LogEntry,
  type MetricsReply,
  PROTOCOL,
  type RetireRequest,
  type RunnerInfo,
  type RunningReply,
  type ServeRequest,
  type StartRequest
} from './protocol.ts'
import { type Call, RunnerClient, RunnerGone, RunnerRefusal } from './runner-client.ts'

export const LocalOptions = Type.Object(
  {
    dataDir: Type.String({
      default: '.rhone',
      minLength: 1,
      description: 'Directory of the images, the socket of the runner and the home directories of apps.'
    }),
    port: Type.Integer({
      default: 8_090,
      minimum: 0,
      maximum: 65_535,
      description: 'Port of the apps, http://<slug>.localhost:<port>/. If it is 0 or taken, another one is used.'
    }),
    anchor: Type.Optional(
      Type.String({
        description: 'A directory elsewhere that owns these apps: when it is removed, they are removed too.'
      })
    ),
    path: Type.String({
      default: `${dirname(process.execPath)}:/opt/homebrew/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`,
      description: 'The default PATH of apps. Default: the directory of this Node, then the system directories.'
    }),
    memory: Type.Integer({
      default: 512,
      minimum: 16,
      description: 'Megabytes of memory per release; above, it is restarted.'
    }),
    disk: Type.Integer({
      default: 2_048,
      minimum: 1,
      description: 'Megabytes that an app may store in its home directory; above, its releases are restarted.'
    }),
    files: Type.Integer({
      default: 200_000,
      minimum: 10,
      description: 'Files and directories that an app may store in its home directory.'
    }),
    processes: Type.Integer({
      default: 512,
      minimum: 8,
      description: 'Processes and threads per app, if it runs as its own user.'
    }),
    healthGrace: Type.Integer({
      default: 30_000,
      minimum: 100,
      description: 'Milliseconds for a release to become healthy: GET /health, or else GET /, answers below 500.'
    }),
    drain: Type.Integer({
      default: 30_000,
      minimum: 0,
      description: 'Milliseconds for requests in flight to end when a release is replaced.'
    }),
    stopGrace: Type.Integer({
      default: 10_000,
      minimum: 0,
      description: 'Milliseconds from SIGTERM to SIGKILL.'
    }),
    idle: Type.Integer({
      default: 5_000,
      minimum: 0,
      description: 'Milliseconds without apps and requests after which the runner exits.'
    })
  },
  { additionalProperties: false, description: 'Apps as processes of this machine.' }
)
export type LocalOptions = Static<typeof LocalOptions>

/** Milliseconds for a request that needs no waiting. */
const QUICK = 10_000
/** Milliseconds for which the runner's port is cached. */
const PORT_MEMORY = 100
/** Milliseconds between checks for a runner whose log can be read or whose end can be awaited. */
const LOG_RETRY = 1_000

type Logs = RuntimeLine | { readonly dropped: number }

/**
 * Runs apps as processes of this machine. They belong to a runner, a separate process that Rhone starts on demand and
 * then only talks to, so apps keep running without Rhone. If the runner is killed or the machine goes down, none of
 * them is left running; `running` reports that, and the reconciler starts them again.
 */
export class LocalDeployer implements Deployer {
  readonly name = 'local'
  readonly lookEvery = 2_000
  readonly caution =
    process.geteuid?.() === 0
      ? 'Apps run on this machine as separate users, but share its kernel, network and /tmp: run only apps of people you trust. A browser that opens the port of an app at 127.0.0.1 also sends it the cookies of this server.'
      : 'Apps run on this machine as your own user, and can read and change everything you can, including the operator token: run only apps you trust.'
  readonly #options: LocalOptions
  readonly #layout: ReturnType<typeof layoutOf>
  readonly #runner: RunnerClient
  /** Cached port and its expiry: lists ask for the URL of every app. */
  #port = { number: 0, until: 0 }

  constructor(input: Partial<LocalOptions>) {
    const options = parseOptions('rhone-deployer', LocalOptions, input)
    const { dataDir, port, idle, path, anchor } = options
    this.#options = options
    this.#layout = layoutOf(dataDir)
    this.#runner = new RunnerClient(this.#layout, { dataDir: this.#layout.dataDir, port, idle, anchor }, path)
  }

  urlOf({ slug }: DeployedApp): string {
    const port = this.#currentPort()
    return `http://${slug}.localhost:${port}/`
  }

  #currentPort(): number {
    const now = performance.now()
    if (now >= this.#port.until)
      this.#port = { number: (readPort(this.#layout) ?? this.#options).port, until: now + PORT_MEMORY }
    return this.#port.number
  }

  async start(release: Release, { signal, say }: Pick<RolloutContext, 'signal' | 'say'>): Promise<void> {
    const { app, deploymentId, image, region, env, health } = release
    if (health?.port)
      say(`The port ${health.port} of the app only applies on Fly: here it must listen on the port in PORT.\n`)
    const { path, memory, disk, files, processes, stopGrace } = this.#options
    const healthGrace = health?.grace ? health.grace * 1_000 : this.#options.healthGrace
    const limits: Limits = { memory, disk, files, processes, healthGrace, stopGrace }
    const healthPath = health?.path ?? undefined
    const names = { app: nameOf(app), deploymentId, image, region }
    const body: StartRequest = { ...names, env, path, limits, ...(healthPath && { healthPath }) }
    await this.#post(`${PROTOCOL}/start`, body, signal, 6 * healthGrace)
  }

  async serve({ app, deploymentId }: Release, { signal }: { signal: AbortSignal }): Promise<void> {
    const body: ServeRequest = { app: nameOf(app), deploymentId }
    await this.#post(`${PROTOCOL}/serve`, body, signal)
  }

  async retire({ id }: DeployedApp, keep: string | null, signal: AbortSignal): Promise<void> {
    if (!(await this.#runner.isNeeded())) return
    const { drain, stopGrace } = this.#options
    const body: RetireRequest = { appId: id, keep, drain }
    await this.#post(`${PROTOCOL}/retire`, body, signal, drain + stopGrace)
  }

  async destroy({ id }: DeployedApp, signal: AbortSignal): Promise<void> {
    const body: DestroyRequest = { appId: id }
    await this.#post(`${PROTOCOL}/destroy`, body, signal, this.#options.stopGrace)
  }

  async running(signal: AbortSignal): ReturnType<Deployer['running']> {
    if (!(await this.#runner.isNeeded())) return []
    const releases = await this.#runner.ask<RunningReply>({
      method: 'GET',
      path: `${PROTOCOL}/running`,
      signal,
      timeout: QUICK
    })
    return releases.map(release => ({ ...release, flyAppId: null }))
  }

  async *logs({ id }: DeployedApp, since: Date | null, signal: AbortSignal): AsyncGenerator<Logs> {
    const query = new URLSearchParams({ app: id })
    // Includes lines written before the first one is received.
    query.set('since', String((since ?? new Date()).getTime()))
    while (!signal.aborted) {
      try {
        for await (const { entry, runner } of this.#runner.follow(`${PROTOCOL}/logs?${query}`, signal)) {
          yield lineOf(id, entry)
          advance(query, entry, runner)
        }
      } catch (error) {
        if (!signal.aborted && !isLoss(error)) throw error
      }
      // The runner has ended or none exists: the next one, started with the app, will have more to say.
      await delay(LOG_RETRY, undefined, { signal, ref: false }).catch(() => {})
    }
  }

  async metrics({ id }: DeployedApp, signal: AbortSignal): Promise<MetricsReply> {
    return this.#runner.ask({
      method: 'GET',
      path: `${PROTOCOL}/metrics?app=${encodeURIComponent(id)}`,
      signal,
      timeout: QUICK
    })
  }

  onLost(listener: () => void): () => void {
    const ending = new AbortController()
    void this.#watchRunner(listener, ending.signal)
    return () => ending.abort()
  }

  async #watchRunner(listener: () => void, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.#runner.untilGone(signal)
        listener()
      } catch {
        // No runner, or none that answers: the next caller that needs one starts it, and gets the reason if it cannot.
      }
      await delay(LOG_RETRY, undefined, { signal, ref: false }).catch(() => {})
    }
  }

  /**
   * Ends all apps and their runner.
   *
   * @returns whether a runner existed
   * @throws Error when it does not end in time
   */
  async stop(signal: AbortSignal): Promise<boolean> {
    const question = { signal, timeout: QUICK }
    try {
      const { pid } = await this.#runner.requestExisting<RunnerInfo>({ method: 'GET', path: '/', ...question })
      const runner = identify(pid)
      await this.#runner.requestExisting({ method: 'POST', path: '/stop', ...question })
      if (runner === null || (await waitForExit(runner, this.#options.stopGrace + QUICK))) return true
    } catch (error) {
      if (error instanceof RunnerGone) return false
      throw error
    }
    throw new Error('the app runner did not exit')
  }

  /** @param wait milliseconds allowed in addition to those of every request */
  async #post(path: string, body: object, signal: AbortSignal, wait = 0): Promise<void> {
    const call: Call = { method: 'POST', path, body, signal, timeout: QUICK + wait }
    try {
      await this.#runner.ask(call)
    } catch (error) {
      throw error instanceof RunnerRefusal && error.status === 422 ? new DeployError(error.message, error) : error
    }
  }
}

const nameOf = ({ id, slug }: DeployedApp) => ({ id, slug })

function lineOf(appId: string, entry: LogEntry): Logs {
  if ('dropped' in entry) return entry
  const { number: _, at, ...line } = entry
  return { ...line, appId, at: new Date(at) }
}

/** Resumes after this entry: with the same runner by line number, with another one by time. */
function advance(query: URLSearchParams, entry: LogEntry, runner: string): void {
  if ('dropped' in entry) return
  query.set('runner', runner)
  query.set('after', String(entry.number))
  query.set('since', String(entry.at))
}

const isLoss = (error: unknown) =>
  error instanceof RunnerGone || ['ECONNRESET', 'ERR_STREAM_PREMATURE_CLOSE'].includes((error as { code: string }).code)
