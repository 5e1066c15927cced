import { execFile, spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { promisify } from 'node:util'
import { hasCode } from '../../../../plugins/lib/errno.ts'
import { identify, type ProcessIdentity } from '../../../../plugins/lib/processes.ts'

/** What the processes of a session use together. */
export interface Usage {
  readonly processes: number
  /** Milliseconds on a processor since they began; of those that have ended, no more. */
  readonly cpu: number
  /** Megabytes. */
  readonly memory: number
}

interface Member {
  readonly pid: number
  readonly cpu: number
}

/** Linux tells these times in hundredths of a second, whatever its own clock does. */
const TICK_MS = 10

/** The processes of each session, by its leader: the process that was started with a session of its own. */
export function sessionsOf(leaders: ReadonlySet<number>): Map<number, Member[]> {
  const sessions = new Map<number, Member[]>([...leaders].map(leader => [leader, []]))
  for (const name of readdirSync('/proc')) {
    const pid = Number(name)
    if (!Number.isInteger(pid)) continue
    const stat = readProc(pid, 'stat')
    if (stat === null) continue
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    const isOver = fields[0] === 'Z' || fields[0] === 'X'
    if (!isOver)
      sessions.get(Number(fields[3]))?.push({ pid, cpu: (Number(fields[11]) + Number(fields[12])) * TICK_MS })
  }
  return sessions
}

/** The leader of a session, told apart from a later process of its pid; null when it is gone. */
export function leaderOf(pid: number): ProcessIdentity | null {
  const found = identify(pid)
  if (found === null || process.platform === 'linux') return found
  const { stdout } = spawnSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' })
  return { pid, startedAt: stdout.trim() }
}

/** What each session uses now. */
export async function usageOf(leaders: ReadonlySet<number>): Promise<Map<number, Usage>> {
  if (leaders.size === 0) return new Map()
  if (process.platform !== 'linux') return usageByGroup(leaders)
  return new Map(
    [...sessionsOf(leaders)].map(([leader, members]) => [
      leader,
      {
        processes: members.length,
        cpu: members.reduce((sum, { cpu }) => sum + cpu, 0),
        memory: members.reduce((sum, { pid }) => sum + memoryOf(pid), 0)
      }
    ])
  )
}

/** Sends a signal to every process of a session, also to those that have left the group of its leader. */
export function signalSession(leader: number, signal: NodeJS.Signals): void {
  send(-leader, signal)
  if (process.platform !== 'linux') return
  for (const { pid } of sessionsOf(new Set([leader])).get(leader)!) send(pid, signal)
}

/**
 * Kills what a session has left whose starter is gone. The number of a session is given to nobody else while one of it
 * runs; so where the leader's number is somebody else's now, or the machine was started anew, nothing is left.
 */
export function killOrphans(leader: ProcessIdentity): void {
  const now = leaderOf(leader.pid)
  if (now === null ? isOfThisBoot(leader) : now.startedAt === leader.startedAt) signalSession(leader.pid, 'SIGKILL')
}

/** False where nobody can tell. */
function isOfThisBoot({ startedAt }: ProcessIdentity): boolean {
  const [boot, ticks] = startedAt.split('/')
  return ticks !== undefined && boot === leaderOf(process.pid)!.startedAt.split('/')[0]
}

/** Without what is shared with files: every app of a runtime has that, and it costs the machine nothing more. */
function memoryOf(pid: number): number {
  const status = readProc(pid, 'status') ?? ''
  return ['RssAnon', 'RssShmem'].reduce(
    (sum, key) => sum + Number(new RegExp(`^${key}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? 0) / 1_024,
    0
  )
}

/** Where there is no /proc. */
async function usageByGroup(leaders: ReadonlySet<number>): Promise<Map<number, Usage>> {
  const usages = new Map<number, Usage>()
  const { stdout } = await promisify(execFile)('ps', ['-A', '-o', 'pgid=,rss=,time='])
  for (const row of stdout.split('\n')) {
    const [group = '', kilobytes = '', time = ''] = row.trim().split(/\s+/)
    const leader = Number(group)
    if (!leaders.has(leader)) continue
    const { processes, cpu, memory } = usages.get(leader) ?? { processes: 0, cpu: 0, memory: 0 }
    const spent = time.split(':').reduce((sum, part) => sum * 60 + Number(part), 0) * 1_000
    usages.set(leader, { processes: processes + 1, cpu: cpu + spent, memory: memory + Number(kilobytes) / 1_024 })
  }
  return usages
}

function send(target: number, signal: NodeJS.Signals): void {
  try {
    process.kill(target, signal)
  } catch (error) {
    if (!hasCode(error, 'ESRCH', 'EPERM')) throw error
  }
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
