import { execFile, execFileSync } from 'node:child_process'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** One kind of request, sent repeatedly. */
export interface Shot {
  readonly url: string
  /** Paths to request in turn, instead of that of `url`; only wrk can do that. */
  readonly paths?: readonly string[]
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
}

export interface LoadResult {
  readonly requests: number
  /** Replies outside 2xx and 3xx. */
  readonly refused: number
  readonly seconds: number
  /** Milliseconds. */
  readonly p50: number
  readonly p99: number
}

const has = (command: string) => {
  try {
    execFileSync('which', [command], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

export const CLIENT = has('wrk') ? 'wrk' : 'autocannon'
const PINNED = has('taskset')

/** Runs a command on one core, if the machine supports that. */
export function onCore(core: number, command: string, args: readonly string[]): [string, string[]] {
  return PINNED ? ['taskset', ['-c', String(core), command, ...args]] : [command, [...args]]
}

/** Loads a server from the client's own core with a fixed number of connections (closed loop). */
export async function load(shot: Shot, connections: number, seconds: number): Promise<LoadResult> {
  return CLIENT === 'wrk' ? wrk(shot, connections, seconds) : autocannon(shot, connections, seconds)
}

const CLIENT_CORE = 1

async function wrk(shot: Shot, connections: number, seconds: number): Promise<LoadResult> {
  const script = join(mkdtempSync(join(tmpdir(), 'rhone-bench-')), 'shot.lua')
  const headers = Object.entries(shot.headers ?? {})
    .map(([name, value]) => `wrk.headers[${lua(name)}] = ${lua(value)}\n`)
    .join('')
  writeFileSync(
    script,
    `wrk.method = ${lua(shot.method ?? 'GET')}\n${headers}${shot.body ? `wrk.body = ${lua(shot.body)}\n` : ''}${shot.paths ? inTurn(shot.paths) : ''}
done = function(summary, latency)
  io.write(string.format('RESULT {"requests":%d,"refused":%d,"seconds":%f,"p50":%f,"p99":%f}\\n',
    summary.requests, summary.errors.status, summary.duration / 1e6,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end\n`
  )
  const [command, args] = onCore(CLIENT_CORE, 'wrk', [
    '-t1',
    `-c${connections}`,
    `-d${seconds}s`,
    '-s',
    script,
    shot.url
  ])
  const { stdout } = await run(command, args)
  return JSON.parse(/^RESULT (.*)$/m.exec(stdout)![1]!)
}

const lua = (text: string) => JSON.stringify(text)

const inTurn = (paths: readonly string[]) => `
local paths, turn = {${paths.map(lua).join(', ')}}, 0
request = function()
  turn = turn % #paths + 1
  return wrk.format(nil, paths[turn])
end
`

async function autocannon(shot: Shot, connections: number, seconds: number): Promise<LoadResult> {
  const headers = Object.entries(shot.headers ?? {}).flatMap(([name, value]) => ['-H', `${name}=${value}`])
  const body = shot.body === undefined ? [] : ['-b', shot.body]
  const [command, args] = onCore(CLIENT_CORE, process.execPath, [
    join(import.meta.dirname, '../node_modules/autocannon/autocannon.js'),
    ...[
      '-j',
      '-c',
      String(connections),
      '-d',
      String(seconds),
      '-m',
      shot.method ?? 'GET',
      ...headers,
      ...body,
      shot.url
    ]
  ])
  const { stdout } = await run(command, args, { maxBuffer: 1e7 })
  const result = JSON.parse(stdout)
  return {
    requests: result.requests.total,
    refused: result.non2xx,
    seconds: result.duration,
    p50: result.latency.p50,
    p99: result.latency.p99
  }
}
