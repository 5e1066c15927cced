import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import packageJson from '../package.json' with { type: 'json' }
import { onCore } from './load.ts'

const SERVER_CORE = 0
const ROOT = join(import.meta.dirname, '..')
/** The options that `npm start` passes to Node; all contestants get them. */
const [, CACHE, FLAGS] = /NODE_COMPILE_CACHE=(\S+) exec node (.*) src\/server\.ts/.exec(packageJson.scripts.start)!
/** Clock ticks per second of /proc/<pid>/stat; 100 on every Linux that Node runs on. */
const TICKS = 100

export interface ServerProcess {
  readonly url: string
  /** CPU seconds, user and system, that this process has used so far. */
  cpu(): number
  /** Resident memory in bytes. */
  rss(): number
  stop(): Promise<void>
}

export interface ServerCommand {
  readonly script: string
  /** The script is an executable that does not run in Node. */
  readonly isProgram?: boolean
  readonly env?: Readonly<Record<string, string>>
  /** Run on whatever core is free, as in production: the processes of a server inherit its core. */
  readonly isFree?: boolean
  /** Where to write a CPU profile at exit; none when absent. */
  readonly profile?: string
}

/** Starts a server on its own core; it is ready when its stderr or stdout names the URL it listens on. */
export async function startServer({
  script,
  isProgram = false,
  env = {},
  isFree = false,
  profile
}: ServerCommand): Promise<ServerProcess> {
  const flags = [...FLAGS!.split(' '), ...(profile ? ['--cpu-prof', `--cpu-prof-dir=${profile}`] : [])]
  const [program, given] = isProgram ? [script, []] : [process.execPath, [...flags, script]]
  const [command, args] = isFree ? [program, given] : onCore(SERVER_CORE, program, given)
  const child = spawn(command, args, {
    env: { PATH: process.env.PATH, NODE_COMPILE_CACHE: join(ROOT, CACHE!), ...env },
    stdio: ['ignore', 'pipe', 'pipe']
  })
  const url = await urlOf(child)
  const stat = () => readFileSync(`/proc/${child.pid}/stat`, 'utf8').split(') ')[1]!.split(' ')
  return {
    url,
    cpu: () => (Number(stat()[11]) + Number(stat()[12])) / TICKS,
    rss: () => Number(stat()[21]) * 4096,
    async stop() {
      if (child.exitCode !== null) return
      const exited = new Promise(resolve => child.once('exit', resolve))
      child.kill('SIGTERM')
      await Promise.race([exited, delay(10_000).then(() => child.kill('SIGKILL'))])
    }
  }
}

async function urlOf(child: ChildProcess): Promise<string> {
  let output = ''
  return new Promise((resolve, reject) => {
    const onData = (chunk: Buffer) => {
      output += chunk
      const found = /ready at (http:\S+)/.exec(output)?.[1]
      if (found === undefined) return
      output = ''
      child.stdout?.off('data', onData).resume()
      child.stderr?.off('data', onData).resume()
      resolve(found)
    }
    child.stdout?.on('data', onData)
    child.stderr?.on('data', onData)
    child.once('exit', code => reject(new Error(`a server ended with ${code} before it was ready:\n${output}`)))
  })
}
