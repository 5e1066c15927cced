import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { hasCode } from './errno.ts'

/** A process as it was when the table was read. */
export interface ProcessEntry {
  readonly pid: number
  readonly parent: number
  readonly group: number
  /** The session leader's pid; the process group where the system does not report sessions. */
  readonly session: number
  /** The real, effective and saved user ids; a process cannot drop any of them by itself. */
  readonly users: readonly number[]
  /** Distinguishes it from a later process with the same pid. */
  readonly startedAt: string
  readonly threads: number
  /** CPU milliseconds since it started. */
  readonly cpu: number
  /** Resident bytes, including shared file mappings; only where there is no `/proc`. */
  readonly resident?: number
}

/** Linux reports these times in hundredths of a second, independent of the kernel's tick rate. */
const TICK_MS = 10

/**
 * All processes on this machine, except this one and those that have ended.
 *
 * @throws with the code EMFILE or ENFILE if no file descriptor is available
 */
export function readProcessTable(): ProcessEntry[] {
  if (process.platform !== 'linux') return tableOfPs()
  return pids().flatMap(pid => entryOf(pid) ?? [])
}

/** The process with this pid; null if there is none or it has ended. */
export function findProcess(pid: number): ProcessEntry | null {
  if (process.platform === 'linux') return entryOf(pid)
  return tableOfPs().find(entry => entry.pid === pid) ?? null
}

/** A process's initial environment, each variable followed by a NUL; empty if it is gone or not readable. */
export const environmentOf = (pid: number): string => readProc(pid, 'environ') ?? ''

/**
 * Bytes of a process's memory that are not backed by a file. File pages are excluded because all programs of a runtime
 * share them at no extra cost. `shared` is the mapped memory that others may map, too.
 */
export function memoryOf({ pid, resident }: ProcessEntry): { readonly own: number; readonly shared: number } {
  if (resident !== undefined) return { own: resident, shared: 0 }
  const status = readProc(pid, 'status') ?? ''
  return { own: kilobytes(status, 'RssAnon') * 1_024, shared: kilobytes(status, 'RssShmem') * 1_024 }
}

/** The content of a file in `/proc/<pid>/`; null if the process is gone or not readable. */
export function readProc(pid: number, file: string): string | null {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'latin1')
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ESRCH', 'EACCES', 'EPERM')) return null
    throw error
  }
}

function pids(): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter(pid => Number.isInteger(pid) && pid !== process.pid)
}

function entryOf(pid: number): ProcessEntry | null {
  const stat = readProc(pid, 'stat')
  const status = readProc(pid, 'status')
  if (stat === null || status === null) return null
  // The second field is the program's name in parentheses and may itself contain both spaces and parentheses.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const at = (index: number) => Number(fields[index])
  // A process whose main thread has ended looks like a zombie while other threads still run.
  const isOver = fields[0] === 'X' || (fields[0] === 'Z' && at(17) <= 1)
  if (isOver) return null
  return {
    pid,
    parent: at(1),
    group: at(2),
    session: at(3),
    users: usersOf(status),
    startedAt: fields[19] ?? '',
    threads: at(17),
    cpu: (at(11) + at(12)) * TICK_MS
  }
}

/** Parses the `Uid:` line: real, effective, saved and file system user. */
function usersOf(status: string): number[] {
  const [, line = ''] = /^Uid:\s+(.*)$/m.exec(status) ?? []
  return [...new Set(line.split(/\s+/).slice(0, 3).map(Number))]
}

const kilobytes = (status: string, key: string) =>
  Number(new RegExp(`^${key}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? 0)

/** Where there is no `/proc`. */
function tableOfPs(): ProcessEntry[] {
  const columns = 'pid=,ppid=,pgid=,ruid=,uid=,rss=,time=,lstart='
  const { stdout, pid: own } = spawnSync('ps', ['-A', '-o', columns], { encoding: 'utf8', maxBuffer: 16 * 1024 * 1024 })
  return stdout.split('\n').flatMap(row => {
    const [pid, parent, group, real, effective, rss, time = '', ...start] = row.trim().split(/\s+/)
    if (!pid || [process.pid, own].includes(Number(pid))) return []
    const cpu = time.split(':').reduce((sum, part) => sum * 60 + Number(part), 0) * 1_000
    const users = [...new Set([Number(real), Number(effective)])]
    const ids = { pid: Number(pid), parent: Number(parent), group: Number(group), session: Number(group) }
    return [{ ...ids, users, startedAt: start.join(' '), threads: 1, cpu, resident: Number(rss) * 1_024 }]
  })
}
