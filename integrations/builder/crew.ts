import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { hasCode } from '../../plugins/lib/errno.ts'
import type { Account } from './account.ts'

/** In the environment of every process of a build, whose children inherit it wherever they go. */
export const MARKER = 'RHONE_BUILD'

/** What tells the processes of a build from all others. */
export interface Crew {
  /** The value of their `MARKER`. */
  readonly id: string
  /** Whose all of them are, and nobody else's; null: they are this process's own user's. */
  readonly account: Account | null
  /** The process groups that have been started; all there is to go by where there is no `/proc`. */
  readonly groups: readonly number[]
}

export interface Usage {
  readonly processes: number
  /** Bytes that they share with no file. */
  readonly memory: number
}

/** How long the kernel may take to end what has been killed, in milliseconds. */
const LAST_BREATH = 15_000

/**
 * Ends every process of a build, also those that have left its process group or lost their parent. They are asked
 * first where `grace`, in milliseconds, is more than 0.
 *
 * @throws Error when something is left that cannot be killed
 */
export async function endCrew(crew: Crew, grace: number): Promise<void> {
  if (grace > 0) {
    if (!signalMembers(crew, 'SIGTERM')) return
    const deadline = performance.now() + grace
    while (performance.now() < deadline && membersOf(crew).length > 0) await delay(20)
  }
  const deadline = performance.now() + LAST_BREATH
  while (membersOf(crew).length > 0) {
    if (performance.now() > deadline) throw new Error('processes of a build are left that cannot be ended')
    // All at once first: what forks faster than it is counted has no time for it.
    if (crew.account !== null) await killAllOf(crew.account)
    signalMembers(crew, 'SIGKILL')
    await delay(20)
  }
}

export function usageOf(crew: Crew): Usage {
  const members = membersOf(crew)
  return { processes: members.length, memory: members.reduce((sum, pid) => sum + memoryOf(pid), 0) }
}

/** The users that have processes here. */
export function usersWithProcesses(): Set<number> {
  return new Set(pids().flatMap(pid => userOf(pid) ?? []))
}

/** How many threads this process's own user has; as good as any number where that cannot be told. */
export function threadsOfOurs(): number {
  if (process.platform !== 'linux') return 1_000
  const ours = pids().filter(pid => userOf(pid) === process.geteuid?.())
  return ours.reduce((sum, pid) => sum + Number(/^Threads:\s+(\d+)/m.exec(readProc(pid, 'status') ?? '')?.[1] ?? 0), 0)
}

function membersOf({ id, account, groups }: Crew): number[] {
  if (process.platform !== 'linux') return groups.filter(group => isThere(-group)).map(group => -group)
  const mark = `${MARKER}=${id}\0`
  return pids().filter(pid => {
    if (pid === process.pid) return false
    const isOurs = (account !== null && userOf(pid) === account.uid) || hasMark(readProc(pid, 'environ'), mark)
    return isOurs && !isZombie(pid)
  })
}

const hasMark = (environment: string | null, mark: string) => `\0${environment ?? ''}`.includes(`\0${mark}`)

const isZombie = (pid: number) => /\) [ZX] [^)]*$/.test(readProc(pid, 'stat') ?? ') Z ')

function signalMembers(crew: Crew, signal: NodeJS.Signals): boolean {
  return membersOf(crew).filter(pid => send(pid, signal)).length > 0
}

/** As that user, so that the kernel finds them in one go. Its own sender is spared. */
async function killAllOf({ uid, gid }: Account): Promise<void> {
  const child = spawn('/bin/sh', ['-c', 'kill -9 -1'], { cwd: '/', env: {}, stdio: 'ignore', uid, gid })
  // Where its user may have no more processes, they are ended one by one instead.
  await Promise.race([once(child, 'exit'), once(child, 'error')]).catch(() => {})
}

function memoryOf(pid: number): number {
  const status = readProc(pid, 'status') ?? ''
  return ['RssAnon', 'RssShmem'].reduce(
    (sum, key) => sum + Number(new RegExp(`^${key}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? 0) * 1024,
    0
  )
}

function pids(): number[] {
  return readdirSync('/proc').map(Number).filter(Number.isInteger)
}

function userOf(pid: number): number | null {
  return statSync(`/proc/${pid}`, { throwIfNoEntry: false })?.uid ?? null
}

/** Null when the process is gone, or is not ours to look at. */
function readProc(pid: number, file: string): string | null {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'latin1')
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ESRCH', 'EACCES', 'EPERM')) return null
    throw error
  }
}

const isThere = (pid: number) => send(pid, 0)

function send(pid: number, signal: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(pid, signal)
  } catch (error) {
    if (hasCode(error, 'ESRCH')) return false
    if (hasCode(error, 'EPERM')) return true
    throw error
  }
}
