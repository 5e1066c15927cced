import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import type { Account, OwnedProcesses } from '../../../../plugins/lib/owned-processes.ts'
import { findProcess } from '../../../../plugins/lib/process-table.ts'
import type { ProcessIdentity } from '../../../../plugins/lib/processes.ts'
import { launchScript } from './launch-script.ts'
import { LineSplitter } from './log.ts'

export interface Launch {
  /** The program and its arguments. */
  readonly command: readonly string[]
  readonly directory: string
  /** The complete environment, including the mark of `processes`. */
  readonly env: Readonly<Record<string, string>>
  readonly account: Account | null
  /** Process and thread limit of the account. */
  readonly maxProcesses: number
  /** Tracks the process and everything it starts. */
  readonly processes: OwnedProcesses
  /** @returns whether there is room for more: a process that logs too much is read slowly */
  readonly onLine: (line: string) => boolean
}

/** A release that cannot run, with a reason that its owner can understand. */
export class StartFailure extends Error {
  override readonly name = 'StartFailure'
  /** The app's last output. */
  readonly said: string | undefined

  constructor(sentence: string, said?: string) {
    super(sentence)
    this.said = said
  }
}

/** Linux's limits in bytes for one variable with its name, and for the whole environment with an 8 MB stack. */
const [VARIABLE_SIZE, ENVIRONMENT_SIZE] = [131_071, 2_000_000]
/** Milliseconds for which the output of a process that logs too much is not read, which blocks it meanwhile. */
const FLOOD_PAUSE = 20
/** Milliseconds of silence after which an unfinished line counts as a line. */
const PART_OF_LINE = 1_000
/** Milliseconds for the last output of a process to arrive. */
const LAST_WORDS = 1_000

/** One process of an app, leading its own session, with all processes it starts. */
export class AppProcess {
  readonly leader: ProcessIdentity
  /** Resolves to how it ended, once all processes it started have ended, too. */
  readonly ended: Promise<string>
  readonly #processes: OwnedProcesses
  #isOver = false

  /** @throws StartFailure when the system rejects this program or these env vars */
  constructor(launch: Launch) {
    this.#processes = launch.processes
    const child = spawnLimited(launch)
    this.#processes.add(child.pid!)
    const heard = Promise.all([listen(child.stdout!, launch), listen(child.stderr!, launch)])
    // It may have ended already; then nothing needs to find it either.
    this.leader = { pid: child.pid!, startedAt: findProcess(child.pid!)?.startedAt ?? '' }
    this.ended = this.#awaitEnd(child, heard)
  }

  /** Sends SIGTERM, and SIGKILL after `grace` milliseconds. */
  async stop(grace: number): Promise<void> {
    if (!this.#isOver && grace > 0) this.#processes.signal('SIGTERM')
    const patience = new AbortController()
    await Promise.race([this.ended, delay(grace, undefined, { signal: patience.signal }).catch(() => {})])
    patience.abort()
    this.kill()
    await this.ended
  }

  kill(): void {
    if (!this.#isOver) this.#processes.signal('SIGKILL')
  }

  async #awaitEnd(child: ChildProcess, heard: Promise<unknown>): Promise<string> {
    const [code, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null]
    const how = code === null ? `was killed by ${signal}` : `exited with code ${code}`
    const left = await this.#endRest()
    this.#isOver = true
    await Promise.race([heard, delay(LAST_WORDS, undefined, { ref: false })])
    child.stdout!.destroy()
    child.stderr!.destroy()
    return code === 0 && left ? `${how}, and its background processes were stopped` : how
  }

  /** Ends its child processes, which are of no use without it and would obstruct its successor. */
  async #endRest(): Promise<boolean> {
    try {
      const left = this.#processes.members().length > 0
      await this.#processes.end(0)
      return left
    } catch (error) {
      // They are ended with the next process, or with the app, which does not count as stopped before that.
      console.error(error)
      return true
    }
  }
}

function spawnLimited({ command, directory, env, account, maxProcesses }: Launch): ChildProcess {
  refuseTooLong(env)
  const child = spawn('/bin/sh', ['-s'], {
    // Changed into with the rights of this process: the app need not be able to reach it by path.
    cwd: directory,
    env: {},
    detached: true,
    stdio: ['pipe', 'pipe', 'pipe'],
    ...account
  })
  child.on('error', () => {})
  if (child.pid === undefined) throw new Error('the machine cannot start more processes')
  child.stdin!.on('error', () => {})
  child.stdin!.end(launchScript({ command, env, maxProcesses: account === null ? null : maxProcesses }))
  return child
}

/** The system would report this only once the shell is running, and not to us. */
function refuseTooLong(env: Readonly<Record<string, string>>): void {
  const sizes = Object.entries(env).map(([name, value]) => Buffer.byteLength(name) + Buffer.byteLength(value) + 2)
  const total = sizes.reduce((sum, size) => sum + size + 8, 0)
  if (total > ENVIRONMENT_SIZE || sizes.some(size => size > VARIABLE_SIZE))
    throw new StartFailure('The env vars of the app are too long in total.')
}

function listen(stream: Readable, { onLine }: Launch): Promise<unknown> {
  let isFlood = false
  let part: NodeJS.Timeout | undefined
  const lines = new LineSplitter(line => {
    if (!onLine(line)) isFlood = true
  })
  stream.on('data', chunk => {
    clearTimeout(part)
    lines.write(chunk)
    if (lines.hasRest) part = setTimeout(() => lines.flush(), PART_OF_LINE)
    if (!isFlood) return
    isFlood = false
    stream.pause()
    setTimeout(() => stream.resume(), FLOOD_PAUSE)
  })
  // The stream may be closed before its end, with output still unreported.
  stream.on('close', () => {
    clearTimeout(part)
    lines.end()
  })
  stream.on('error', () => {})
  return once(stream, 'close')
}
