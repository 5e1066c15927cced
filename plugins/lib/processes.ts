import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { hasCode } from './errno.ts'

/** A process, told apart from a later one that was given the same pid. */
export interface ProcessIdentity {
  readonly pid: number
  /** Boot and start time on Linux. Elsewhere empty: a live pid is all there is to know cheaply. */
  readonly startedAt: string
}

const ZOMBIE_OR_DEAD = new Set(['Z', 'X'])

/** The process that has this pid now; null when there is none, or only its zombie. */
export function identify(pid: number): ProcessIdentity | null {
  if (process.platform !== 'linux') return pidIsTaken(pid) ? { pid, startedAt: '' } : null
  try {
    // The second field is the program's name in parentheses and may itself contain both spaces and parentheses.
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    const [state = '', startTicks = ''] = [fields[0], fields[19]]
    if (ZOMBIE_OR_DEAD.has(state)) return null
    return { pid, startedAt: `${readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()}/${startTicks}` }
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ESRCH')) return null
    throw error
  }
}

/** Whether the pid is in use as far as signals go, which is so for a zombie, too. */
export function pidIsTaken(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    return hasCode(error, 'EPERM')
  }
}

/** While this process has no file descriptor left to look with, a process of that pid counts as the same. */
export function isRunning(one: ProcessIdentity): boolean {
  try {
    return identify(one.pid)?.startedAt === one.startedAt
  } catch (error) {
    if (hasCode(error, 'EMFILE', 'ENFILE')) return pidIsTaken(one.pid)
    throw error
  }
}

/** Program and arguments, joined by spaces; empty when the process is gone. */
export function commandLine(pid: number): string {
  if (process.platform !== 'linux') {
    return spawnSync('ps', ['-ww', '-o', 'args=', '-p', String(pid)], { encoding: 'utf8' }).stdout.trim()
  }
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim()
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ESRCH')) return ''
    throw error
  }
}

export function signalProcess(one: ProcessIdentity, signal: NodeJS.Signals): void {
  if (isRunning(one)) send(one.pid, signal)
}

/** Ends a program that leads its own process group, with everything it has started. */
export function killGroup(leader: number): void {
  send(-leader, 'SIGKILL')
}

/** True once the process is gone, false when it still runs after `timeoutMs`. */
export async function waitForExit(one: ProcessIdentity, timeoutMs: number): Promise<boolean> {
  const deadline = performance.now() + timeoutMs
  while (isRunning(one)) {
    if (performance.now() > deadline) return false
    await sleep(20)
  }
  return true
}

function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch (error) {
    if (!hasCode(error, 'ESRCH')) throw error
  }
}
