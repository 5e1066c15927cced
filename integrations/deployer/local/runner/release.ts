import { setTimeout as delay } from 'node:timers/promises'
import { Agent } from '../../../../plugins/lib/http.ts'
import type { LocalManifest } from '../../../../plugins/lib/local-image.ts'
import { OwnedProcesses } from '../../../../plugins/lib/owned-processes.ts'
import type { ProcessIdentity } from '../../../../plugins/lib/processes.ts'
import type { StartRequest } from '../protocol.ts'
import type { Home } from './account.ts'
import { AppProcess, StartFailure } from './app-process.ts'
import { complaintAbout, drawPort, tryPort } from './health.ts'
import { InFlight } from './in-flight.ts'
import { levelOf } from './levels.ts'
import { PortOwner } from './listeners.ts'
import type { AppLog } from './log.ts'

/** A version of an app, with what it takes to run it here. */
export interface ReleaseSpec extends StartRequest {
  readonly command: LocalManifest['command']
  /** Working directory of its processes. */
  readonly directory: string
  readonly home: Home
}

/** How to connect to a process. */
export interface Route {
  readonly port: number
  readonly agent: Agent
  /** Whether the app itself is still listening there. */
  isOurs(): boolean
}

/** Resource usage of a release. */
export interface ReleaseUsage {
  /** CPU time in milliseconds of the processes running now. */
  readonly cpu: number
  /** Megabytes. */
  readonly memory: number
}

export interface ReleaseDeps {
  readonly log: AppLog
  /** Marks the processes of this machine's runner: `NAME=value`. */
  readonly mark: string
  /** The processes of the app's other releases, which share its user. */
  siblings(): Iterable<OwnedProcesses>
  /** Whether a port must be avoided even if it is free. */
  isPortTaken(port: number): boolean
  /** Called right after a process starts, and again when it has ended. */
  onProcess(): void
}

/** Milliseconds between health checks: before the release is healthy, and afterwards. */
const [FIRST_PROBES, PROBES] = [100, 10_000]
const PROBE_TIMEOUT = 5_000
/** Consecutive failed checks after which a release counts as unhealthy. */
const PATIENCE = 3
/** Milliseconds before a restart: doubled each time from the first value up to the second. */
const [FIRST_WAIT, LONGEST_WAIT] = [100, 30_000]
/** Milliseconds of uptime after which a process counts as recovered, which resets the restart delay. */
const STEADY_AFTER = 60_000
/** Attempts to start when other programs keep taking the port first. */
const PORT_ATTEMPTS = 5
const TAIL_LINES = 20
/** Messages of programs that cannot write to their build directory. */
const READ_ONLY = /\b(EACCES|EROFS|EPERM)\b|Permission denied|Read-only file system|PermissionError/i
const READ_ONLY_HINT =
  'An app cannot write to its build directory: it can write to its home directory (HOME) and to /tmp.'
/** Begins a complaint. */
const OVERTIME = 'is not healthy after'
const GRACE_HINT = 'If it needs longer to start, increase healthGrace.'
/** Follows the words "The app". */
const FOREIGN_PORT = 'no longer listens on its port; another program of this machine does'

const NOTHING: ReleaseUsage = { cpu: 0, memory: 0 }

/** Set in the environment of every process of a release, overriding the owner's value. */
const RELEASE_MARK = 'RHONE_RELEASE'

/** Keeps a version of an app running: restarts it with increasing delays. */
export class LocalRelease {
  readonly spec: ReleaseSpec
  readonly inFlight = new InFlight()
  /** All processes of the release. */
  readonly processes: OwnedProcesses
  /** Resolves when it first becomes healthy; rejects with a StartFailure if it does not. */
  readonly started: Promise<void>
  /** Connections to the current process; null until it has been healthy. */
  route: Route | null = null
  usage = NOTHING
  /** Percentage of one processor since the last sample. */
  cpuPercent = 0
  readonly #deps: ReleaseDeps
  readonly #stopping = new AbortController()
  readonly #over: Promise<void>
  #process: AppProcess | null = null
  #port = 0
  #portOwner: PortOwner | null = null
  #isHealthy = false
  #sampledAt = performance.now()

  constructor(spec: ReleaseSpec, deps: ReleaseDeps) {
    this.spec = spec
    this.#deps = deps
    this.processes = new OwnedProcesses({
      account: spec.home.account,
      mark: `${RELEASE_MARK}=${spec.deploymentId}`,
      others: () => deps.siblings()
    })
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.started = promise
    this.started.catch(() => {})
    this.#over = this.#supervise(resolve).catch(reject)
  }

  get isHealthy(): boolean {
    return this.#isHealthy
  }

  get port(): number {
    return this.#port
  }

  get leader(): ProcessIdentity | null {
    return this.#process?.leader ?? null
  }

  /** Waits until it is healthy, also after a restart. @throws StartFailure when it does not become healthy */
  async healthy(signal: AbortSignal): Promise<void> {
    await unless(signal, this.started)
    const deadline = performance.now() + this.spec.limits.healthGrace
    while (!this.#isHealthy && performance.now() < deadline) if (!(await this.#pause(FIRST_PROBES, signal))) break
    signal.throwIfAborted()
    if (!this.#isHealthy) throw this.#failure('is not healthy')
  }

  /** Ends it permanently. */
  async stop(grace = this.spec.limits.stopGrace): Promise<void> {
    this.#stopping.abort()
    await this.#process?.stop(grace)
    await this.#over
    await this.processes.end(0)
  }

  /** Records the usage of its processes, and ends them if it exceeds the limits. */
  observe(usage: ReleaseUsage): void {
    const now = performance.now()
    const spent = Math.max(usage.cpu - this.usage.cpu, 0)
    this.cpuPercent = (100 * spent) / Math.max(now - this.#sampledAt, 1)
    this.#sampledAt = now
    this.usage = usage
    const { memory } = this.spec.limits
    if (usage.memory > memory)
      this.endFor(`The app used ${Math.ceil(usage.memory)} MB of memory; the limit is ${memory} MB.`)
  }

  /** Ends its processes, logging the reason; the release is then restarted. */
  endFor(reason: string): void {
    if (this.#process === null) return
    this.#say('error', reason)
    this.#process.kill()
  }

  async #supervise(started: () => void): Promise<void> {
    const first = await this.#bringUp()
    started()
    let upSince = performance.now()
    let end = await this.#watch(first)
    for (let failures = 0; !this.#stopping.signal.aborted; failures++) {
      if (performance.now() - upSince > STEADY_AFTER) failures = 0
      const wait = Math.min(FIRST_WAIT * 2 ** failures, LONGEST_WAIT)
      this.#say('error', `The app ${end}; it restarts in ${wait / 1_000} s.`)
      if (!(await this.#pause(wait))) return
      upSince = performance.now()
      end = await this.#runAgain()
    }
  }

  /** The first start, which may fail. */
  async #bringUp(): Promise<AppProcess> {
    for (let attempt = 1; ; attempt++) {
      const process = await this.#launch()
      const complaint = await this.#awaitHealth(process)
      if (complaint === null) return process
      const hasEnded = this.#process === null
      const isForeign = !hasEnded && !this.#ownsPort()
      await process.stop(0)
      if (this.#stopping.signal.aborted) throw givenUp()
      const wasPortTaken = isForeign || (hasEnded && (await tryPort(this.#port)) === null)
      if (!wasPortTaken || attempt === PORT_ATTEMPTS) throw this.#failure(complaint)
    }
  }

  /** @returns how the process ended, phrased to follow the words "The app" */
  async #runAgain(): Promise<string> {
    try {
      return await this.#watch(await this.#launch())
    } catch (error) {
      // Probably a temporary shortage of resources; the next attempt comes later.
      return `cannot be started (${(error as NodeJS.ErrnoException).code ?? (error as Error).name})`
    }
  }

  /** Watches a process until it ends. @returns how it ended, phrased to follow the words "The app" */
  async #watch(process: AppProcess): Promise<string> {
    const ended = new AbortController()
    const watching = this.#watchHealth(process, ended.signal)
    const end = await process.ended
    ended.abort()
    return (await watching) ?? end
  }

  /** @returns why it has ended the process, if it has */
  async #watchHealth(process: AppProcess, ended: AbortSignal): Promise<string | null> {
    if (!this.#isHealthy) {
      const complaint = await this.#awaitHealth(process)
      if (ended.aborted || complaint !== null) {
        process.kill()
        return ended.aborted ? null : complaint
      }
    }
    let failures = 0
    while (await this.#pause(PROBES, ended)) {
      const complaint = await this.#complaint(ended)
      if (ended.aborted) break
      if (complaint === FOREIGN_PORT) {
        process.kill()
        return complaint
      }
      failures = complaint === null ? 0 : failures + 1
      const isHealthy = failures < PATIENCE
      if (isHealthy !== this.#isHealthy)
        this.#say(isHealthy ? 'info' : 'warn', isHealthy ? 'The app is healthy again.' : `The app ${complaint}.`)
      this.#isHealthy = isHealthy
    }
    return null
  }

  async #launch(): Promise<AppProcess> {
    const { spec } = this
    const port = await drawPort(this.#deps.isPortTaken)
    if (this.#stopping.signal.aborted) throw givenUp()
    const process = new AppProcess({
      ...spec,
      env: { ...this.#defaults(), ...spec.env, ...this.#fixed(port) },
      account: spec.home.account,
      maxProcesses: spec.limits.processes,
      processes: this.processes,
      onLine: message => this.#hear(message)
    })
    this.#port = port
    this.#portOwner = new PortOwner(port, () => this.processes.members().map(({ pid }) => pid))
    this.#process = process
    this.usage = NOTHING
    this.#deps.onProcess()
    process.ended.then(() => this.#lose(process))
    return process
  }

  /** Defaults that the app's env vars may override. */
  #defaults(): Record<string, string> {
    const { path, home, directory, app, deploymentId } = this.spec
    return {
      PATH: path,
      PWD: directory,
      HOME: home.directory,
      HOST: '127.0.0.1',
      NODE_ENV: 'production',
      RHONE_APP: app.slug,
      RHONE_DEPLOYMENT_ID: deploymentId
    }
  }

  /** Variables that the app's env vars may not override. */
  #fixed(port: number): Record<string, string> {
    const [name = '', value = ''] = this.#deps.mark.split(/=(.*)/s)
    const { region, deploymentId } = this.spec
    return { PORT: String(port), PRIMARY_REGION: region, [RELEASE_MARK]: deploymentId, [name]: value }
  }

  #ownsPort(): boolean {
    return this.#portOwner?.isOurs() ?? false
  }

  #lose(process: AppProcess): void {
    if (this.#process !== process) return
    this.#process = null
    this.#isHealthy = false
    this.route?.agent.destroy()
    this.route = null
    this.usage = NOTHING
    this.cpuPercent = 0
    this.#deps.onProcess()
  }

  /** @returns null when healthy, else the problem, once the time is up or the process has ended */
  async #awaitHealth(process: AppProcess): Promise<string | null> {
    const { healthGrace } = this.spec.limits
    const deadline = performance.now() + healthGrace
    const given = new AbortController()
    const end = process.ended.finally(() => given.abort())
    for (;;) {
      const complaint = await this.#complaint(given.signal)
      if (given.signal.aborted) return await end
      if (complaint === null) break
      if (complaint === FOREIGN_PORT) return complaint
      if (performance.now() > deadline) return `${OVERTIME} ${healthGrace / 1_000} s: it ${complaint}`
      const goesOn = await this.#pause(FIRST_PROBES, given.signal)
      if (!goesOn && !given.signal.aborted) return 'is stopped'
    }
    this.#isHealthy = true
    const agent = new Agent({ keepAlive: true, maxFreeSockets: 32 })
    this.route = { port: this.#port, agent, isOurs: () => this.#ownsPort() }
    return null
  }

  /** Null when healthy. A reply from another program on the port does not count. */
  async #complaint(signal: AbortSignal): Promise<string | null> {
    if (!this.#ownsPort()) return FOREIGN_PORT
    const complaint = await complaintAbout({ port: this.#port, path: this.spec.healthPath }, PROBE_TIMEOUT, signal)
    return complaint === null && !this.#ownsPort() ? FOREIGN_PORT : complaint
  }

  /** Includes the app's output uncut: the receiver masks the secrets, and could not recognize half of one. */
  #failure(complaint: string): StartFailure {
    const lines = this.#deps.log.tail(this.spec.deploymentId, TAIL_LINES)
    const sentences = [`The app ${complaint}.`]
    if (complaint.startsWith(OVERTIME)) sentences.push(GRACE_HINT)
    if (lines.length === 0) sentences.push('It logged nothing.')
    if (lines.some(line => READ_ONLY.test(line))) sentences.push(READ_ONLY_HINT)
    return new StartFailure(sentences.join(' '), lines.length === 0 ? undefined : lines.join('\n'))
  }

  #hear(message: string): boolean {
    return this.#deps.log.add({
      ...this.#origin(),
      level: levelOf(message),
      source: 'app',
      message
    })
  }

  #say(level: 'info' | 'warn' | 'error', message: string): void {
    this.#deps.log.add({ ...this.#origin(), level, source: 'system', message })
  }

  #origin() {
    const { deploymentId, region } = this.spec
    return { deploymentId, region, instance: this.#process === null ? null : String(this.#process.leader.pid) }
  }

  /** @returns false when it was interrupted */
  async #pause(milliseconds: number, signal?: AbortSignal): Promise<boolean> {
    const signals = signal === undefined ? [this.#stopping.signal] : [this.#stopping.signal, signal]
    try {
      await delay(milliseconds, undefined, { signal: AbortSignal.any(signals) })
      return true
    } catch {
      return false
    }
  }
}

/** Stops waiting when the signal aborts; the work continues. */
function unless<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  const aborted = Promise.withResolvers<never>()
  const onAbort = () => aborted.reject(signal.reason)
  signal.addEventListener('abort', onAbort)
  if (signal.aborted) onAbort()
  return Promise.race([work, aborted.promise]).finally(() => signal.removeEventListener('abort', onAbort))
}

const givenUp = () => new StartFailure('The start was cancelled.')
