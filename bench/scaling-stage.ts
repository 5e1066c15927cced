import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startEmbeddedPostgres } from '../src/embedded-postgres/index.ts'
import { freePort } from '../test/support/free-port.ts'
import { startHaproxy } from '../test/support/haproxy.ts'
import { startRedis } from '../test/support/redis.ts'

export interface Contestant {
  readonly name: string
  readonly comparedWith?: Contestant
  readonly url: string
  /** Number of workers or instances. */
  readonly units: number
  /** Requests per second of each that leave it idle for most of the time. */
  readonly rate: number
  /** CPU seconds of each thread of its servers so far. */
  threads(): Map<string, number>
}

export interface Stage {
  readonly contestants: readonly Contestant[]
  close(): Promise<void>
}

interface Server {
  readonly url: string
  readonly child: ChildProcess
}

const ROOT = join(import.meta.dirname, '..')
const UNLIMITED = '1000000/s:1000000'
/** Requests per second and worker, or instance: a tenth of what one core can do. */
const WORKER_RATE = 3_000
const INSTANCE_RATE = 1_000

/** One and two workers; and, if the machine has haproxy and Redis, one and two instances. */
export async function openStage(): Promise<Stage> {
  const endings: (() => unknown)[] = []
  const scope = { after: (end: () => unknown) => void endings.unshift(end) }
  const close = async () => {
    for (const end of endings) await end()
  }
  try {
    const env = await environment(scope)
    const contestants = [...(await workers(scope, env)), ...(await instances(scope, env))]
    return { contestants, close }
  } catch (error) {
    await close()
    throw error
  }
}

type Scope = { after(end: () => unknown): void }
type Environment = Record<string, string>

async function environment(scope: Scope): Promise<Environment> {
  const dataDir = await mkdtemp(join(tmpdir(), 'rhone-scaling-'))
  scope.after(() => rm(dataDir, { recursive: true, force: true }))
  const log = { info() {}, warn: console.error, error: console.error }
  const postgres = await startEmbeddedPostgres({ dataDir: join(dataDir, 'postgres'), log })
  scope.after(() => postgres.stop())
  return { DATABASE_URL: postgres.url, DATA_DIR: dataDir, PORT: '0', RATE_LIMIT_GENERAL: UNLIMITED }
}

async function workers(scope: Scope, env: Environment): Promise<Contestant[]> {
  const [one, two] = [await start(scope, env), await start(scope, { ...env, RHONE_WORKERS: '2' })]
  const rate = WORKER_RATE
  const single = contestant({ name: '1 worker', units: 1, rate, url: one.url, servers: [one] })
  return [single, contestant({ name: '2 workers', units: 2, rate, url: two.url, servers: [two], comparedWith: single })]
}

async function instances(scope: Scope, env: Environment): Promise<Contestant[]> {
  const redis = await startRedis(scope, await freePort())
  if (redis === undefined) {
    console.log('redis-server is not installed: no instances')
    return []
  }
  const shared = {
    ...env,
    REDIS_URL: redis.url,
    TRUST_PROXY: '127.0.0.1/32',
    // On a busy machine the limiter would fall back from Redis to its own memory, and the cheaper path would be
    // measured.
    RHONE_SWAP: 'rate-limit=./test/fixtures/swaps/patient-limiter.ts'
  }
  const servers = [await start(scope, shared), await start(scope, shared), await start(scope, shared)]
  const [alone, both] = await Promise.all([proxied(scope, servers.slice(0, 1)), proxied(scope, servers.slice(1))])
  if (alone === undefined || both === undefined) {
    console.log('haproxy is not installed: no instances')
    return []
  }
  const rate = INSTANCE_RATE
  const single = contestant({ name: '1 instance', units: 1, rate, url: alone, servers: servers.slice(0, 1) })
  return [
    single,
    contestant({ name: '2 instances', units: 2, rate, url: both, servers: servers.slice(1), comparedWith: single })
  ]
}

function contestant({ servers, ...named }: Omit<Contestant, 'threads'> & { servers: readonly Server[] }): Contestant {
  return { ...named, threads: () => threadsOf(servers) }
}

async function proxied(scope: Scope, servers: readonly Server[]): Promise<string | undefined> {
  const addresses = servers.map(({ url }) => new URL(url).host)
  const port = await startHaproxy(scope, addresses, ['balance roundrobin'])
  return port === undefined ? undefined : `http://127.0.0.1:${port}`
}

async function start(scope: Scope, env: Environment): Promise<Server> {
  const child = spawn(process.execPath, ['src/server.ts'], {
    cwd: ROOT,
    env: { PATH: process.env.PATH, ...env },
    stdio: ['ignore', 'ignore', 'pipe']
  })
  scope.after(async () => {
    if (child.exitCode !== null) return
    child.kill('SIGTERM')
    await once(child, 'exit')
  })
  let stderr = ''
  for await (const chunk of child.stderr.iterator({ destroyOnReturn: false })) {
    stderr += chunk
    const url = /ready at (http:\S+)/.exec(stderr)?.[1]
    if (url === undefined) continue
    child.stderr.resume()
    return { url, child }
  }
  throw new Error(`a server ended before it was ready:\n${stderr}`)
}

function threadsOf(servers: readonly Server[]): Map<string, number> {
  const used = new Map<string, number>()
  for (const { child } of servers)
    for (const thread of readdirSync(`/proc/${child.pid}/task`)) {
      const [nanoseconds] = readFileSync(`/proc/${child.pid}/task/${thread}/schedstat`, 'utf8').split(' ')
      used.set(thread, Number(nanoseconds) / 1e9)
    }
  return used
}
