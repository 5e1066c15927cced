import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { hasCode } from './errno.ts'

/** Identifies a process, even if its pid is reused later. */
export interface ProcessIdentity {
  readonly pid: number
  /** Boot and start time on Linux. Empty elsewhere, where only the pid is cheap to check. */
  readonly startedAt: string
}

const ZOMBIE_OR_DEAD = new Set(['Z', 'X'])

/** The process that has this pid now; null if there is none, or only a zombie. */
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

/** Whether the pid can be signalled, which is also true for a zombie. */
export function pidIsTaken(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    return hasCode(error, 'EPERM')
  }
}

/** If no file descriptor is available for the check, any process with that pid counts as the same. */
export function isRunning(one: ProcessIdentity): boolean {
  try {
    return identify(one.pid)?.startedAt === one.startedAt
  } catch (error) {
    if (hasCode(error, 'EMFILE', 'ENFILE')) return pidIsTaken(one.pid)
    throw error
  }
}

/** Program and arguments, joined by spaces; empty if the process is gone. */
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

/** Kills a process group by its leader's pid. */
export function killGroup(leader: number): void {
  send(-leader, 'SIGKILL')
}

/** Resolves to true once the process is gone, to false if it still runs after `timeoutMs`. */
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
