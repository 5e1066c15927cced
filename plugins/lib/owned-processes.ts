import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import { hasCode } from './errno.ts'
import { environmentOf, memoryOf, type ProcessEntry, readProcessTable } from './process-table.ts'

/** A user and its group, by number. */
export interface Account {
  readonly uid: number
  readonly gid: number
}

export interface Ownership {
  /** The user that runs these processes and no others; null: they run as this process's own user. */
  readonly account: Account | null
  /** `NAME=value` in the environment of each process that is started; their children inherit it. */
  readonly mark: string
  /** Those with whom the account is shared: what belongs to one of them does not belong here. */
  readonly others?: () => Iterable<OwnedProcesses>
}

export interface Usage {
  /** Processes and threads. */
  readonly tasks: number
  /** Milliseconds on a processor since they began; of those that have ended, no more. */
  readonly cpu: number
  /** Bytes that they share with no file on a disk. */
  readonly memory: number
  /** Of these, bytes that others may map, too, each counted as often as it is mapped. */
  readonly shared: number
}

/** Milliseconds that the kernel may take to end what has been killed. */
const LAST_BREATH = 15_000
const POLL = 20

/**
 * All processes that an app or a build has brought up, also those that have left its session, cleared their environment
 * or lost their parent.
 *
 * With an account of its own, everything that runs as that user belongs here, which no process can change. Without one,
 * there are only traces to go by: the session, the mark, the descent from a process that belongs here, and what was seen
 * to belong here before. A process that gets rid of all of them between two looks is lost.
 */
export class OwnedProcesses {
  readonly #ownership: Ownership
  readonly #sessions = new Map<number, string | null>()
  /** Start times by pid. */
  #known = new Map<number, string>()

  constructor(ownership: Ownership) {
    this.#ownership = ownership
  }

  /** Takes in a process that was just started as the leader of a session. */
  add(leader: number): void {
    this.#sessions.set(leader, null)
  }

  /** What belongs here now. */
  members(table: readonly ProcessEntry[] = readProcessTable()): ProcessEntry[] {
    const { account, others = () => [] } = this.#ownership
    const claimed = this.claim(table)
    if (account === null) return claimed
    const elsewhere = new Set([...others()].flatMap(other => other.claim(table)))
    const mine = new Set(claimed)
    return table.filter(entry => mine.has(entry) || (entry.users.includes(account.uid) && !elsewhere.has(entry)))
  }

  /** What is known to belong here by more than its user. */
  claim(table: readonly ProcessEntry[]): ProcessEntry[] {
    this.#forgetSessions(table)
    const candidates = table.filter(entry => this.#isCandidate(entry))
    const claimed = new Map<number, ProcessEntry>()
    for (const entry of candidates) if (this.#isTraced(entry)) claimed.set(entry.pid, entry)
    // Children of children, in whatever order the table lists them.
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

  /** @returns whether there was anything to send it to */
  signal(signal: NodeJS.Signals): boolean {
    return this.members().filter(({ pid }) => send(pid, signal)).length > 0
  }

  /**
   * Ends everything that belongs here. It is asked first where `grace`, in milliseconds, is more than 0.
   *
   * @throws Error when something is left that cannot be killed
   */
  async end(grace: number): Promise<void> {
    if (grace > 0) {
      if (!this.signal('SIGTERM')) return
      await this.#waitForEnd(grace)
    }
    const deadline = performance.now() + LAST_BREATH
    while (!this.#isEmpty()) {
      if (performance.now() > deadline) throw new Error('processes are left that cannot be ended')
      await this.#kill()
      await delay(POLL)
    }
  }

  /** @returns whether nothing is left */
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
    // All at once first: what forks faster than it is counted has no time for it.
    if (account !== null && [...others()].length === 0) await killAllOf(account)
    this.signal('SIGKILL')
  }

  #isEmpty(): boolean {
    try {
      return this.members().length === 0
    } catch (error) {
      // Without a file descriptor to look with, nothing is known.
      if (hasCode(error, 'EMFILE', 'ENFILE')) return false
      throw error
    }
  }

  /** Only what runs as the right user, so that nobody else's process is ended that has come by a pid or a mark. */
  #isCandidate({ users }: ProcessEntry): boolean {
    const { account } = this.#ownership
    return users.includes(account?.uid ?? process.geteuid?.() ?? Number.NaN)
  }

  #isTraced(entry: ProcessEntry): boolean {
    if (this.#known.get(entry.pid) === entry.startedAt || this.#sessions.has(entry.session)) return true
    return `\0${environmentOf(entry.pid)}`.includes(`\0${this.#ownership.mark}\0`)
  }

  /** The number of a session is given to nobody else while one of it runs, and may be at any time after. */
  #forgetSessions(table: readonly ProcessEntry[]): void {
    for (const [leader, startedAt] of this.#sessions) {
      const now = table.find(({ pid }) => pid === leader)
      if (now !== undefined && startedAt === null) this.#sessions.set(leader, now.startedAt)
      const isAnother = now !== undefined && startedAt !== null && now.startedAt !== startedAt
      if (isAnother || !table.some(({ session }) => session === leader)) this.#sessions.delete(leader)
    }
  }
}

/** What these processes use together. */
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
export function tasksOfOurs(): number {
  const uid = process.geteuid?.() ?? Number.NaN
  return sum(readProcessTable().flatMap(({ users, threads }) => (users.includes(uid) ? threads : [])))
}

/** As that user, so that the kernel finds them in one go. Its own sender is spared. */
async function killAllOf({ uid, gid }: Account): Promise<void> {
  const child = spawn('/bin/sh', ['-c', 'kill -9 -1'], { cwd: '/', env: {}, stdio: 'ignore', uid, gid })
  // Where its user may have no more processes, they are ended one by one instead.
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
