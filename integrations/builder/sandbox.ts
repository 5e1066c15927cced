import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { access, constants, statfs } from 'node:fs/promises'
import { delimiter, isAbsolute, join } from 'node:path'
import type { Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { type Account, OwnedProcesses, ownTaskCount } from '../../plugins/lib/owned-processes.ts'
import { BuildError } from './port.ts'
import { sizeOf } from './tree.ts'

/** The resource limits of one build. */
export interface Limits {
  readonly seconds: number
  /** Bytes of output to keep. */
  readonly output: number
  /** Bytes for all of its processes together. */
  readonly memory: number
  /** Bytes used below its directory. */
  readonly disk: number
  /** Bytes of disk space to leave free. */
  readonly spare: number
  readonly processes: number
  /** Milliseconds between SIGTERM and SIGKILL. */
  readonly grace: number
}

export interface SandboxOptions {
  /** Unique among all builds, past and present. */
  readonly id: string
  readonly directory: string
  readonly account: Account | null
  readonly limits: Limits
  readonly signal: AbortSignal
  /** Takes program output. */
  say(text: string): void
  /** Takes a line written by Rhone itself. */
  note(line: string): void
}

export interface Command {
  /** The path of the program, then its arguments. */
  readonly argv: readonly string[]
  readonly cwd: string
  /** The complete environment. */
  readonly env: Readonly<Record<string, string>>
  /** Runs as this process's own user, for access to what only that user has. Never for the app's code. */
  readonly asOurselves?: true
  /** Returns standard output instead of logging it. */
  readonly isQuiet?: true
  /** A descriptor to read standard input from; nothing otherwise. */
  readonly input?: number
  /** A descriptor that standard output goes to, in place of the log. */
  readonly output?: number
  /** Called with the latest output whenever there is more. */
  onOutput?(said: string): void
}

export interface Finished {
  /** Null if it was ended by a signal. */
  readonly code: number | null
  readonly output: string
  /** The end of its output. */
  readonly tail: string
}

/** Runs the programs of one build with a directory, user and limits of their own; no process outlives it. */
export interface Sandbox {
  readonly directory: string
  readonly account: Account | null
  readonly signal: AbortSignal
  note(line: string): void
  /**
   * Runs a program, then ends any processes it has left running.
   *
   * @throws BuildError when a limit is reached, the signal's abort reason, or an error of ours
   */
  run(command: Command): Promise<Finished>
  close(): void
}

/**
 * Arguments: the file size limit in blocks of 512 bytes, the process and thread limit of the user, the program. Shells
 * differ in the name of the second limit. Core dumps are disabled.
 */
const LIMITED =
  'ulimit -c 0; ulimit -f "$1"; ulimit -u "$2" 2>/dev/null || ulimit -p "$2"; shift 2; exec nice -n 10 "$@"'

const WATCH_INTERVAL = 500
const SPARE_INTERVAL = 200
const TAIL = 4_096
const QUIET_OUTPUT = 65_536
/** Milliseconds between reads once output is discarded, so that a flood costs this process almost nothing. */
const FLOOD_PAUSE = 50

/** Set in the environment of every build process. */
const MARK = 'RHONE_BUILD'

/** All processes of a build, which may run under an account of its own. */
export const processesOfBuild = (id: string, account: Account | null): OwnedProcesses =>
  new OwnedProcesses({ account, mark: `${MARK}=${id}` })

export function openSandbox({ id, directory, account, limits, signal, say, note }: SandboxOptions): Sandbox {
  const stopping = new AbortController()
  const stop = (reason: unknown) => stopping.abort(reason)
  const overtime = setTimeout(
    () => stop(new BuildError(`The build took longer than ${wordsOf(limits.seconds)}.`)),
    limits.seconds * 1_000
  )
  const onAbort = () => stop(signal.reason)
  signal.addEventListener('abort', onAbort)
  if (signal.aborted) onAbort()
  let room = limits.output

  function tell(text: string): void {
    if (room <= 0) return
    room -= Buffer.byteLength(text)
    say(text)
    if (room <= 0) note('\n… the output is too long: the rest is dropped.\n')
  }

  async function run(command: Command): Promise<Finished> {
    stopping.signal.throwIfAborted()
    const processes = processesOfBuild(id, command.asOurselves ? null : account)
    const child = launch(command)
    if (child.pid !== undefined) processes.add(child.pid)
    const heard = listen(child, command)
    const watching = new AbortController()
    const watched = Promise.all([
      watchProcesses(processes, watching.signal),
      watchDisk(watching.signal),
      watchSpare(watching.signal)
    ]).catch(stop)
    try {
      const [code] = await exitOf(child)
      await processes.end(0)
      await heard.end()
      if ((await sizeOf(directory)) > limits.disk) stop(tooBig())
      stopping.signal.throwIfAborted()
      return { code, output: heard.output(), tail: heard.tail() }
    } catch (error) {
      await processes.end(limits.grace)
      throw error
    } finally {
      watching.abort()
      await heard.end()
      await watched
    }
  }

  function launch({ argv, cwd, env, asOurselves, input, output }: Command): ChildProcess {
    const identity = asOurselves ? null : account
    // The limit applies to the user, so add the processes it already runs.
    const others = identity === null ? ownTaskCount() : 0
    const bounds = [Math.ceil(limits.disk / 512), others + limits.processes].map(String)
    try {
      return spawn('/bin/sh', ['-c', LIMITED, 'sh', ...bounds, ...argv], {
        cwd,
        env: { ...env, [MARK]: id },
        detached: true,
        stdio: [input ?? 'ignore', output ?? 'pipe', 'pipe'],
        ...identity
      })
    } catch (error) {
      throw startFailure(error)
    }
  }

  function exitOf(child: ChildProcess): Promise<[number | null]> {
    const stopped = new Promise<never>((_resolve, reject) => {
      stopping.signal.addEventListener('abort', () => reject(stopping.signal.reason), { once: true })
    })
    const exited = once(child, 'exit').catch(error => Promise.reject(startFailure(error)))
    return Promise.race([exited as Promise<[number | null]>, stopped])
  }

  function listen(child: ChildProcess, { isQuiet, onOutput }: Command) {
    let output = ''
    let tail = ''
    const hear = (stream: Readable, isOutput: boolean) => {
      stream.setEncoding('utf8').on('data', (text: string) => {
        tail = (tail + text).slice(-TAIL)
        if (isOutput) output = (output + text).slice(0, QUIET_OUTPUT)
        else tell(text)
        onOutput?.(tail)
        if (room > 0) return
        stream.pause()
        setTimeout(() => stream.resume(), FLOOD_PAUSE)
      })
      return once(stream, 'close')
    }
    const streams = [child.stdout, child.stderr].filter(stream => stream !== null)
    const closed = Promise.all(streams.map(stream => hear(stream, isQuiet === true && stream === child.stdout)))
    return {
      output: () => output,
      tail: () => tail,
      /** Does not wait for everything in the pipes of a flood. */
      async end(): Promise<void> {
        await Promise.race([closed, delay(5_000, undefined, { ref: false })])
        for (const stream of streams) stream.destroy()
      }
    }
  }

  async function watchProcesses(running: OwnedProcesses, until: AbortSignal): Promise<void> {
    while (await pause(WATCH_INTERVAL, until)) {
      const { tasks, memory } = running.usage()
      if (tasks > limits.processes) stop(new BuildError(`The build ran more than ${limits.processes} processes.`))
      if (memory > limits.memory)
        stop(new BuildError(`The build needed more than ${megabytes(limits.memory)} of memory.`))
    }
  }

  /**
   * Runs often and independently of the tree walk: a build can write hundreds of megabytes while a large tree is
   * walked.
   */
  async function watchSpare(until: AbortSignal): Promise<void> {
    do {
      const { bavail, bsize } = await statfs(directory)
      if (bavail * bsize < limits.spare) stop(outOfDisk())
    } while (await pause(SPARE_INTERVAL, until))
  }

  async function watchDisk(until: AbortSignal): Promise<void> {
    let interval = WATCH_INTERVAL
    while (await pause(interval, until)) {
      const began = performance.now()
      if ((await sizeOf(directory)) > limits.disk) stop(tooBig())
      // On a large tree, spends at most a tenth of the time measuring.
      interval = Math.max(WATCH_INTERVAL, 10 * (performance.now() - began))
    }
  }

  const outOfDisk = () =>
    new BuildError(
      `The build machine has less than ${megabytes(limits.spare)} of free disk space: its operator must free some.`
    )
  const tooBig = () => new BuildError(`The build used more than ${megabytes(limits.disk)} of disk space.`)

  return {
    directory,
    account,
    signal: stopping.signal,
    note,
    run,
    close() {
      clearTimeout(overtime)
      signal.removeEventListener('abort', onAbort)
    }
  }
}

/** Finds a program on a `PATH`. @throws Error when there is none */
export async function findProgram(name: string, path: string): Promise<string> {
  const candidates = isAbsolute(name) ? [name] : path.split(delimiter).map(directory => join(directory, name))
  for (const candidate of candidates) {
    const isThere = await access(candidate, constants.X_OK).then(
      () => true,
      () => false
    )
    if (isThere) return candidate
  }
  throw new Error(`${name} is not installed on this machine`)
}

/** @throws Error unless the build's user has access below its directory */
export async function checkReach({ directory, run }: Sandbox): Promise<void> {
  const { code } = await run({
    argv: ['/bin/sh', '-c', 'cd -- "$1"', 'sh', directory],
    cwd: '/',
    env: {},
    isQuiet: true
  })
  if (code !== 0)
    throw new Error(
      `builds run as a user that cannot enter ${directory}: make its parent directories enterable for other users`
    )
}

function startFailure(error: unknown): Error {
  const code = (error as NodeJS.ErrnoException).code
  // Neither message is passed on: it might contain a value.
  if (code === 'E2BIG') return new BuildError('The env vars of the build are too long in total.')
  if (code === 'EPERM' || code === 'EINVAL')
    return new Error('this machine does not allow builds to run as a separate user')
  return new Error(`a program of the build could not be started (${code})`)
}

async function pause(milliseconds: number, until: AbortSignal): Promise<boolean> {
  try {
    await delay(milliseconds, undefined, { signal: until })
    return true
  } catch {
    return false
  }
}

const wordsOf = (seconds: number) => (seconds % 60 === 0 ? `${seconds / 60} minutes` : `${seconds} seconds`)
const megabytes = (size: number) => `${Math.round(size / 1_048_576)} MB`
