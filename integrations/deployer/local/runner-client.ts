import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { open, readFile } from 'node:fs/promises'
import { type IncomingMessage, request } from 'node:http'
import { getCompileCacheDir } from 'node:module'
import { dirname } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { hasCode, nullIf } from '../../../plugins/lib/errno.ts'
import { createRoot, findSocket, type Layout } from './layout.ts'
import { type LogEntry, PROTOCOL, type Refusal, type RunnerSettings } from './protocol.ts'

/** There is no runner now, or it has gone before it could answer. */
export class RunnerGone extends Error {
  override readonly name = 'RunnerGone'
}

/** The runner has answered that it will not do that. */
export class RunnerRefusal extends Error {
  override readonly name = 'RunnerRefusal'
  readonly status: number
  /** The last that the app said. */
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
  /** Milliseconds that the answer may take. */
  readonly timeout: number
}

/** Milliseconds in which a runner must have begun to answer. */
const START_TIMEOUT = 20_000
const HELLO_TIMEOUT = 5_000
/** Milliseconds between two attempts to reach a runner that is being started. */
const REACH_INTERVAL = 25
/** Everything that a runner is asked may be asked again. */
const ATTEMPTS = 3
const MAX_LOG = 1024 * 1024

// `.ts` where Node runs the sources, `.js` where they have been built.
const PROGRAM = fileURLToPath(new URL(`./runner/main${import.meta.url.slice(-3)}`, import.meta.url))

/** Speaks to the runner of a DATA_DIR, which any number of processes may do at once. */
export class RunnerClient {
  readonly #layout: Layout
  readonly #settings: RunnerSettings
  readonly #path: string
  #starting: Promise<void> | null = null

  /** @param path the PATH of the runner */
  constructor(layout: Layout, settings: RunnerSettings, path: string) {
    this.#layout = layout
    this.#settings = settings
    this.#path = path
  }

  /** Asks the runner, which is started when there is none. @throws RunnerRefusal */
  async ask<T>(call: Call): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.askRunning(call)
      } catch (error) {
        if (!(error instanceof RunnerGone) || attempt === ATTEMPTS) throw error
      }
      await this.#start(call.signal)
    }
  }

  /** Asks the runner if there is one. @throws RunnerGone when there is none, and RunnerRefusal */
  async askRunning<T>(call: Call): Promise<T> {
    const answer = await this.#send(call)
    const body = await textOf(answer)
    if (answer.statusCode === 200) return JSON.parse(body)
    const { error, said } = JSON.parse(body) as Refusal
    if (answer.statusCode === 503) throw new RunnerGone(error)
    throw new RunnerRefusal(answer.statusCode!, error, said)
  }

  /** Whether one runs, or has left something that only the next one can clear away. */
  async isNeeded(): Promise<boolean> {
    const left = await readFile(this.#layout.processes, 'utf8').catch(nullIf('ENOENT', 'ENOTDIR'))
    return (left !== null && left !== '[]') || (await findSocket(this.#layout)) !== null
  }

  /**
   * Waits for the end of the runner that is there now.
   *
   * @throws RunnerGone when there is none, and what the signal was aborted with
   */
  async untilGone(signal: AbortSignal): Promise<void> {
    // A log has no end while its runner runs. Of this app nothing is ever said.
    const answer = await this.#send({ method: 'GET', path: `${PROTOCOL}/logs?app=-`, signal, timeout: HELLO_TIMEOUT })
    await new Promise(resolve => answer.once('close', resolve).resume())
    signal.throwIfAborted()
  }

  /** Follows a log for as long as the runner is there. */
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
    if (socketPath === null) throw new RunnerGone('there is no runner')
    const overtime = new AbortController()
    const timer = setTimeout(() => overtime.abort(new Error('the runner of the apps does not answer')), timeout)
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
        throw new Error('the apps are run by another version of Rhone: end that with "rhone local stop"')
      }
      // Fails whoever reads the answer, and nobody else.
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

  /** Once for all who ask at the same time. */
  async #start(signal: AbortSignal): Promise<void> {
    this.#starting ??= this.#startOne().finally(() => {
      this.#starting = null
    })
    await this.#starting
    signal.throwIfAborted()
  }

  /**
   * Starts runners until one answers. Others may do so at the same time: the kernel's lock lets one of them live. The one
   * that has it may just be about to end, too.
   */
  async #startOne(): Promise<void> {
    const deadline = performance.now() + START_TIMEOUT
    await createRoot(this.#layout)
    let runner = await this.#spawn()
    for (;;) {
      await delay(REACH_INTERVAL)
      if (await this.#isThere()) return
      if (performance.now() > deadline)
        throw new Error(`the runner of the apps does not start: ${this.#layout.log} says why`)
      const hasEnded = runner.exitCode !== null || runner.signalCode !== null
      if (hasEnded) runner = await this.#spawn()
    }
  }

  async #isThere(): Promise<boolean> {
    try {
      const signal = AbortSignal.timeout(HELLO_TIMEOUT)
      await this.askRunning({ method: 'GET', path: '/', signal, timeout: HELLO_TIMEOUT })
      return true
    } catch (error) {
      if (error instanceof RunnerGone) return false
      throw error
    }
  }

  /** In a session of its own, with nothing of ours: neither a terminal, nor the environment, nor the working directory. */
  async #spawn(): Promise<ChildProcess> {
    // On a full disk it runs all the same, and says nothing.
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

/** With the compiled modules of the server, if it keeps any, a runner is there in a third of the time. */
function compileCache(): Record<string, string> {
  // Node makes a directory per version in the one that it is given.
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
