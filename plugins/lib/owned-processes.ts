import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import { hasCode } from './errno.ts'
import { environmentOf, memoryOf, type ProcessEntry, readProcessTable } from './process-table.ts'

/** A numeric user and group id. */
export interface Account {
  readonly uid: number
  readonly gid: number
}

export interface Ownership {
  /** The user dedicated to these processes; null if they run as this process's own user. */
  readonly account: Account | null
  /** `NAME=value` in the environment of each started process; children inherit it. */
  readonly mark: string
  /** Other owners that share the account; their processes are excluded. */
  readonly others?: () => Iterable<OwnedProcesses>
}

export interface Usage {
  /** Processes and threads. */
  readonly tasks: number
  /** CPU milliseconds since the processes started; excludes processes that have ended. */
  readonly cpu: number
  /** Bytes of memory not backed by a file on disk. */
  readonly memory: number
  /** The part of `memory` that others may map, too, counted once per mapping. */
  readonly shared: number
}

/** Milliseconds the kernel may take to end killed processes. */
const LAST_BREATH = 15_000
const POLL = 20

/**
 * All processes that an app or a build has started, including those that left its session, cleared their environment or
 * lost their parent.
 *
 * With a dedicated account, everything that runs as that user belongs here, and no process can change that. Without
 * one, processes are found by session, by mark, by descent from an owned process, or because they were owned before. A
 * process that sheds all of these between two reads of the process table is lost.
 */
export class OwnedProcesses {
  readonly #ownership: Ownership
  readonly #sessions = new Map<number, string | null>()
  /** Start times by pid. */
  #known = new Map<number, string>()

  constructor(ownership: Ownership) {
    this.#ownership = ownership
  }

  /** Adds a process just started as a session leader. */
  add(leader: number): void {
    this.#sessions.set(leader, null)
  }

  /** The processes currently owned. */
  members(table: readonly ProcessEntry[] = readProcessTable()): ProcessEntry[] {
    const { account, others = () => [] } = this.#ownership
    const claimed = this.claim(table)
    if (account === null) return claimed
    const elsewhere = new Set([...others()].flatMap(other => other.claim(table)))
    const mine = new Set(claimed)
    return table.filter(entry => mine.has(entry) || (entry.users.includes(account.uid) && !elsewhere.has(entry)))
  }

  /** The processes owned by evidence other than their user alone. */
  claim(table: readonly ProcessEntry[]): ProcessEntry[] {
    this.#forgetSessions(table)
    const candidates = table.filter(entry => this.#isCandidate(entry))
    const claimed = new Map<number, ProcessEntry>()
    for (const entry of candidates) if (this.#isTraced(entry)) claimed.set(entry.pid, entry)
    // Repeat until no more descendants are found; the table is in no particular order.
    for (let found = -1; found !== claimed.size; ) {
      found = claimed.size
      for (const entry of candidates) if (claimed.has(entry.parent)) claimed.set(entry.pid, entry)
    }
    this.#known = new Map([...claimed.values()].map(({ pid, startedAt }) => [pid, startedAt]))
    return [...claimed.values()]
  }

  usage(table?: readonly ProcessEntry[]): Usage {
    return usageOf(this.members(table))
  }

  /** @returns whether any process received the signal */
  signal(signal: NodeJS.Signals): boolean {
    return this.members().filter(({ pid }) => send(pid, signal)).length > 0
  }

  /**
   * Ends all owned processes. If `grace` (milliseconds) is above 0, sends SIGTERM first.
   *
   * @throws Error if some process cannot be killed
   */
  async end(grace: number): Promise<void> {
    if (grace > 0) {
      if (!this.signal('SIGTERM')) return
      await this.#waitForEnd(grace)
    }
    const deadline = performance.now() + LAST_BREATH
    while (!this.#isEmpty()) {
      if (performance.now() > deadline) throw new Error('some processes could not be killed')
      await this.#kill()
      await delay(POLL)
    }
  }

  /** @returns whether all processes have ended */
  async #waitForEnd(milliseconds: number): Promise<boolean> {
    const deadline = performance.now() + milliseconds
    while (!this.#isEmpty()) {
      if (performance.now() > deadline) return false
      await delay(POLL)
    }
    return true
  }

  async #kill(): Promise<void> {
    const { account, others = () => [] } = this.#ownership
    // Kill all at once first, so that fork bombs cannot outrun the listing.
    if (account !== null && [...others()].length === 0) await killAllOf(account)
    this.signal('SIGKILL')
  }

  #isEmpty(): boolean {
    try {
      return this.members().length === 0
    } catch (error) {
      // No file descriptor left to read the table with, so the result is unknown.
      if (hasCode(error, 'EMFILE', 'ENFILE')) return false
      throw error
    }
  }

  /** Only processes of the right user, so that a reused pid or copied mark never ends another user's process. */
  #isCandidate({ users }: ProcessEntry): boolean {
    const { account } = this.#ownership
    return users.includes(account?.uid ?? process.geteuid?.() ?? Number.NaN)
  }

  #isTraced(entry: ProcessEntry): boolean {
    if (this.#known.get(entry.pid) === entry.startedAt || this.#sessions.has(entry.session)) return true
    return `\0${environmentOf(entry.pid)}`.includes(`\0${this.#ownership.mark}\0`)
  }

  /** Drops ended sessions: a session id may be reused once its last process has ended. */
  #forgetSessions(table: readonly ProcessEntry[]): void {
    for (const [leader, startedAt] of this.#sessions) {
      const now = table.find(({ pid }) => pid === leader)
      if (now !== undefined && startedAt === null) this.#sessions.set(leader, now.startedAt)
      const isAnother = now !== undefined && startedAt !== null && now.startedAt !== startedAt
      if (isAnother || !table.some(({ session }) => session === leader)) this.#sessions.delete(leader)
    }
  }
}

/** The combined usage of these processes. */
export function usageOf(entries: readonly ProcessEntry[]): Usage {
  const memory = entries.map(memoryOf)
  return {
    tasks: sum(entries.map(({ threads }) => threads)),
    cpu: sum(entries.map(({ cpu }) => cpu)),
    memory: sum(memory.map(({ own, shared }) => own + shared)),
    shared: sum(memory.map(({ shared }) => shared))
  }
}

/** The users that have processes here. */
export function usersWithProcesses(): Set<number> {
  return new Set(readProcessTable().flatMap(({ users }) => users))
}

/** Processes and threads of this process's own user. */
export function ownTaskCount(): number {
  const uid = process.geteuid?.() ?? Number.NaN
  return sum(readProcessTable().flatMap(({ users, threads }) => (users.includes(uid) ? threads : [])))
}

/** Runs `kill -9 -1` as that user, so the kernel kills all its processes at once, except the sender. */
async function killAllOf({ uid, gid }: Account): Promise<void> {
  const child = spawn('/bin/sh', ['-c', 'kill -9 -1'], { cwd: '/', env: {}, stdio: 'ignore', uid, gid })
  // If the user has reached its process limit, processes are killed one by one instead.
  await Promise.race([once(child, 'exit'), once(child, 'error')]).catch(() => {})
}

function send(pid: number, signal: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, signal)
  } catch (error) {
    if (hasCode(error, 'ESRCH', 'EPERM')) return false
    throw error
  }
}

const sum = (numbers: readonly number[]) => numbers.reduce((total, number) => total + number, 0)
