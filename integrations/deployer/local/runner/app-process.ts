import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { hasCode } from '../../../../plugins/lib/errno.ts'
import type { Account } from '../../../../plugins/lib/owned-processes.ts'
import type { ProcessIdentity } from '../../../../plugins/lib/processes.ts'
import { LineSplitter } from './log.ts'
import { leaderOf, signalSession } from './sessions.ts'

export interface Launch {
  /** A program and its arguments. */
  readonly command: readonly string[]
  readonly directory: string
  /** The whole environment. */
  readonly env: Readonly<Record<string, string>>
  readonly account: Account | null
  /** Processes and threads that the account may have. */
  readonly maxProcesses: number
  /** @returns whether there is room for more: a process that says too much is read slowly */
  readonly onLine: (line: string, stream: 'stdout' | 'stderr') => boolean
}

/** A release that cannot run, for a reason that its owner can understand. */
export class StartFailure extends Error {
  override readonly name = 'StartFailure'
}

/**
 * Arguments: processes that the user may have, or nothing; where to start; the program. The shells of the world name that
 * limit differently. No file with the memory of a process is left behind, and when the machine runs out of memory, apps
 * go before whoever runs them.
 */
const LIMITED = `ulimit -c 0
[ -z "$1" ] || ulimit -u "$1" 2>/dev/null || ulimit -p "$1"
[ ! -w /proc/self/oom_score_adj ] || echo 500 2>/dev/null >/proc/self/oom_score_adj
cd -- "$2" || exit 126
unset OLDPWD
shift 2
exec "$@"`

/** Milliseconds for which what says too much is not read; it cannot go on meanwhile. */
const FLOOD_PAUSE = 20
/** Milliseconds that the last words of a process may take to arrive; a grandchild may hold the pipe for ever. */
const LAST_WORDS = 1_000

/** One process of an app, the leader of a session, with everything that it starts in there. */
export class AppProcess {
  readonly leader: ProcessIdentity
  /** Says how it has ended, once all of its session has. */
  readonly ended: Promise<string>
  #isOver = false

  /** @throws StartFailure when the system does not take this program, or these env vars */
  constructor(launch: Launch) {
    const child = spawnLimited(launch)
    const heard = Promise.all([listen(child.stdout!, 'stdout', launch), listen(child.stderr!, 'stderr', launch)])
    this.ended = this.#awaitEnd(child, heard)
    // It may be over already; then nobody will look for it either.
    this.leader = leaderOf(child.pid!) ?? { pid: child.pid!, startedAt: '' }
  }

  /** Asks it to end, and ends it where it has not after `grace` milliseconds. */
  async stop(grace: number): Promise<void> {
    if (!this.#isOver) signalSession(this.leader.pid, 'SIGTERM')
    const patience = new AbortController()
    await Promise.race([this.ended, delay(grace, undefined, { signal: patience.signal }).catch(() => {})])
    patience.abort()
    this.kill()
    await this.ended
  }

  kill(): void {
    if (!this.#isOver) signalSession(this.leader.pid, 'SIGKILL')
  }

  async #awaitEnd(child: ChildProcess, heard: Promise<unknown>): Promise<string> {
    const [code, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null]
    // What the leader has started is of no use without it, and would be in the way of the next one.
    signalSession(child.pid!, 'SIGKILL')
    this.#isOver = true
    await Promise.race([heard, delay(LAST_WORDS, undefined, { ref: false })])
    child.stdout!.destroy()
    child.stderr!.destroy()
    return code === null ? `was ended by ${signal}` : `ended with exit code ${code}`
  }
}

function spawnLimited({ command, directory, env, account, maxProcesses }: Launch): ChildProcess {
  const limit = account === null ? '' : String(maxProcesses)
  try {
    const child = spawn('/bin/sh', ['-c', LIMITED, 'sh', limit, directory, ...command], {
      cwd: '/',
      env: { ...env },
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      ...account
    })
    child.on('error', () => {})
    if (child.pid === undefined) throw new Error('the machine can start no more processes now')
    return child
  } catch (error) {
    // Its own message might show a value.
    if (hasCode(error, 'E2BIG')) throw new StartFailure('The env vars of the app are too long, all together.')
    throw error
  }
}

function listen(stream: Readable, name: 'stdout' | 'stderr', { onLine }: Launch): Promise<unknown> {
  let isFlood = false
  const lines = new LineSplitter(line => {
    if (!onLine(line, name)) isFlood = true
  })
  stream.on('data', chunk => {
    lines.write(chunk)
    if (!isFlood) return
    isFlood = false
    stream.pause()
    setTimeout(() => stream.resume(), FLOOD_PAUSE)
  })
  stream.on('end', () => lines.end())
  stream.on('error', () => {})
  return once(stream, 'close')
}
