import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { open, readFile } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import { getCompileCacheDir } from 'node:module'
import { dirname } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { hasCode, nullIf } from '../../../plugins/lib/errno.ts'
import { request } from '../../../plugins/lib/http.ts'
import { createRoot, findSocket, type Layout } from './layout.ts'
import { type LogEntry, PROTOCOL, type Refusal, type RunnerSettings } from './protocol.ts'

/** No runner exists, or it has gone before answering. */
export class RunnerGone extends Error {
  override readonly name = 'RunnerGone'
}

/** The runner has refused the request. */
export class RunnerRefusal extends Error {
  override readonly name = 'RunnerRefusal'
  readonly status: number
  /** The app's last output. */
  readonly said: string | undefined

  constructor(status: number, message: string, said?: string) {
    super(message)
    this.status = status
    this.said = said
  }
}

export interface Call {
  readonly method: 'GET' | 'POST'
  readonly path: string
  readonly body?: object
  readonly signal: AbortSignal
  /** Milliseconds to wait for the reply. */
  readonly timeout: number
}

/** Milliseconds for a new runner to begin answering. */
const START_TIMEOUT = 20_000
const HELLO_TIMEOUT = 5_000
/** Milliseconds between attempts to reach a starting runner. */
const REACH_INTERVAL = 25
/** All requests to the runner may be repeated. */
const ATTEMPTS = 3
const MAX_LOG = 1024 * 1024

// `.ts` when Node runs the sources, `.js` when they have been built.
const PROGRAM = fileURLToPath(new URL(`./runner/main${import.meta.url.slice(-3)}`, import.meta.url))

/** Talks to the runner of a DATA_DIR. Any number of processes may do so at once. */
export class RunnerClient {
  readonly #layout: Layout
  readonly #settings: RunnerSettings
  readonly #path: string
  #starting: Promise<void> | null = null

  /** @param path the runner's PATH */
  constructor(layout: Layout, settings: RunnerSettings, path: string) {
    this.#layout = layout
    this.#settings = settings
    this.#path = path
  }

  /** Sends a request, starting a runner if there is none. @throws RunnerRefusal */
  async ask<T>(call: Call): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.requestExisting(call)
      } catch (error) {
        if (!(error instanceof RunnerGone) || attempt === ATTEMPTS) throw error
      }
      await this.#start(call.signal)
    }
  }

  /** Sends a request to an existing runner. @throws RunnerGone when there is none, and RunnerRefusal */
  async requestExisting<T>(call: Call): Promise<T> {
    const answer = await this.#send(call)
    const body = await textOf(answer)
    if (answer.statusCode === 200) return JSON.parse(body)
    const { error, said } = JSON.parse(body) as Refusal
    if (answer.statusCode === 503) throw new RunnerGone(error)
    throw new RunnerRefusal(answer.statusCode!, error, said)
  }

  /** Whether a runner exists, or has left something that only the next one can clean up. */
  async isNeeded(): Promise<boolean> {
    const left = await readFile(this.#layout.processes, 'utf8').catch(nullIf('ENOENT', 'ENOTDIR'))
    return (left !== null && left !== '[]') || (await findSocket(this.#layout)) !== null
  }

  /**
   * Waits for the current runner to end.
   *
   * @throws RunnerGone when there is none, or the signal's abort reason
   */
  async untilGone(signal: AbortSignal): Promise<void> {
    // A log stream ends only with its runner. This app never logs anything.
    const answer = await this.#send({ method: 'GET', path: `${PROTOCOL}/logs?app=-`, signal, timeout: HELLO_TIMEOUT })
    await new Promise(resolve => answer.once('close', resolve).resume())
    signal.throwIfAborted()
  }

  /** Follows a log until the runner goes away. */
  async *follow(path: string, signal: AbortSignal): AsyncGenerator<{ entry: LogEntry; runner: string }> {
    const answer = await this.#send({ method: 'GET', path, signal, timeout: HELLO_TIMEOUT })
    const runner = String(answer.headers['x-runner'])
    const lines = createInterface({ input: answer })
    try {
      for await (const line of lines) if (line !== '') yield { entry: JSON.parse(line), runner }
    } finally {
      lines.close()
      answer.destroy()
    }
  }

  async #send({ method, path, body, signal, timeout }: Call): Promise<IncomingMessage> {
    signal.throwIfAborted()
    const socketPath = await findSocket(this.#layout)
    if (socketPath === null) throw new RunnerGone('the app runner is not running')
    const overtime = new AbortController()
    const timer = setTimeout(() => overtime.abort(new Error('the app runner does not answer')), timeout)
    try {
      const asked = request({
        socketPath,
        method,
        path,
        agent: false,
        signal: AbortSignal.any([signal, overtime.signal])
      })
      asked.end(body && JSON.stringify(body))
      const [answer] = (await once(asked, 'response')) as [IncomingMessage]
      if (answer.statusCode === 404) {
        answer.destroy()
        throw new Error('the app runner belongs to another version of Rhone: stop it with "rhone local stop"')
      }
      // The reader of the reply gets the error; without a listener it would also be thrown as uncaught.
      answer.on('error', () => {})
      return answer
    } catch (error) {
      signal.throwIfAborted()
      overtime.signal.throwIfAborted()
      if (hasCode(error, 'ENOENT', 'ECONNREFUSED', 'ECONNRESET', 'EPIPE'))
        throw new RunnerGone((error as Error).message)
      throw error
    } finally {
      clearTimeout(timer)
    }
  }

  /** Concurrent callers share one start. */
  async #start(signal: AbortSignal): Promise<void> {
    this.#starting ??= this.#startOne().finally(() => {
      this.#starting = null
    })
    await this.#starting
    signal.throwIfAborted()
  }

  /**
   * Starts runners until one answers. Other processes may do so at the same time: the kernel lock lets only one of them
   * live, and that one may be just about to end, too.
   */
  async #startOne(): Promise<void> {
    const deadline = performance.now() + START_TIMEOUT
    await createRoot(this.#layout)
    let runner = await this.#spawn()
    for (;;) {
      await delay(REACH_INTERVAL)
      if (await this.#isThere()) return
      if (performance.now() > deadline) throw new Error(`the app runner did not start: see ${this.#layout.log}`)
      const hasEnded = runner.exitCode !== null || runner.signalCode !== null
      if (hasEnded) runner = await this.#spawn()
    }
  }

  async #isThere(): Promise<boolean> {
    try {
      const signal = AbortSignal.timeout(HELLO_TIMEOUT)
      await this.requestExisting({ method: 'GET', path: '/', signal, timeout: HELLO_TIMEOUT })
      return true
    } catch (error) {
      if (error instanceof RunnerGone) return false
      throw error
    }
  }

  /** Spawns the runner in its own session, without our terminal, environment or working directory. */
  async #spawn(): Promise<ChildProcess> {
    // On a full disk it runs without a log.
    const log = await open(this.#layout.log, 'a', 0o600).catch(nullIf('ENOSPC', 'EDQUOT', 'EROFS'))
    const output = log?.fd ?? 'ignore'
    try {
      if (log !== null && (await log.stat()).size > MAX_LOG) await log.truncate()
      const runner = spawn(
        process.execPath,
        ['--disable-warning=ExperimentalWarning', PROGRAM, JSON.stringify(this.#settings)],
        {
          cwd: '/',
          env: { PATH: this.#path, ...compileCache() },
          detached: true,
          stdio: ['ignore', output, output]
        }
      )
      runner.unref()
      await once(runner, 'spawn')
      return runner
    } finally {
      await log?.close()
    }
  }
}

/** The server's compile cache, if enabled, cuts the runner's start to a third of the time. */
function compileCache(): Record<string, string> {
  // Node creates a subdirectory per version.
  const ofThisVersion = getCompileCacheDir()
  return ofThisVersion === undefined ? {} : { NODE_COMPILE_CACHE: dirname(ofThisVersion) }
}

async function textOf(answer: IncomingMessage): Promise<string> {
  let text = ''
  try {
    for await (const chunk of answer.setEncoding('utf8')) text += chunk
  } catch (error) {
    if (hasCode(error, 'ECONNRESET')) throw new RunnerGone((error as Error).message)
    throw error
  }
  return text
}
