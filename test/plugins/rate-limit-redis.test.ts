import assert from 'node:assert/strict'
import { once } from 'node:events'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { type TestContext, test } from 'node:test'
import Fastify, { type FastifyInstance } from 'fastify'
import { Redis } from 'ioredis'
import rateLimit, { type RateLimitDeps, type RateLimitOptions } from '../../plugins/rate-limit/index.ts'
import { eventually } from '../support/eventually.ts'
import { redisServer, startRedis } from '../support/redis.ts'
import { stays } from '../support/stays.ts'

type Input = Partial<RateLimitOptions> & RateLimitDeps
const perHour = (burst: number) => ({ ratePerSecond: 1 / 3600, burst })

interface Instance {
  app: FastifyInstance
  redis: Redis
  logged: string[]
}

/** One of several servers over the same Redis, with the client that the server ships with. */
async function instance(t: TestContext, url: string, input: Input): Promise<Instance> {
  const logged: string[] = []
  const app = Fastify({ logger: { level: 'debug', stream: { write: line => logged.push(JSON.parse(line).msg) } } })
  const redis = new Redis(url, {
    enableOfflineQueue: false,
    maxRetriesPerRequest: 1,
    commandTimeout: 100,
    connectTimeout: 500,
    autoResendUnfulfilledCommands: false,
    retryStrategy: () => 50
  })
  redis.on('error', () => logged.push('redis error'))
  t.after(async () => {
    await app.close()
    redis.disconnect()
  })
  await once(redis, 'ready')
  app.decorate('redis', redis)
  await app.register(rateLimit, { shared: true, redisTimeout: 10, ...input })
  app.get('/', async () => 'served')
  await app.ready()
  return { app, redis, logged }
}

interface Reply {
  status: number
  milliseconds: number
  limit: string
}

async function ask(app: FastifyInstance, remoteAddress = '203.0.113.1'): Promise<Reply> {
  const startedAt = performance.now()
  const { statusCode, headers } = await app.inject({ url: '/', remoteAddress })
  return { status: statusCode, milliseconds: performance.now() - startedAt, limit: String(headers.ratelimit) }
}

const statusesOf = (replies: Reply[]) => replies.map(({ status }) => status)
const remaining = ({ limit }: Reply) => Number(/r=(\d+)/.exec(limit)?.[1])

async function askInTurn(app: FastifyInstance, count: number, remoteAddress?: string): Promise<Reply[]> {
  const replies: Reply[] = []
  for (let i = 0; i < count; i++) replies.push(await ask(app, remoteAddress))
  return replies
}

const isShared = ({ logged }: Instance) => logged.lastIndexOf(SHARED) > logged.lastIndexOf(LOCAL)
const isLocal = ({ logged }: Instance) => logged.lastIndexOf(LOCAL) > logged.lastIndexOf(SHARED)
const LOCAL = 'rate limits are counted per instance: Redis does not answer'
const SHARED = 'rate limits are shared again: Redis answers'
const REFUSES = 'rate limits are counted per instance: Redis rejects writes'
const REFUSES_YET = 'Redis rejects writes yet'

test('all instances with one Redis share every quota', async t => {
  const server = await redisServer(t)
  if (server === undefined) return
  const limits = { general: perHour(6), redisTimeout: 1000 }
  const [one, other] = [await instance(t, server.url, limits), await instance(t, server.url, limits)]
  assert.deepEqual(statusesOf(await askInTurn(one.app, 4)), [200, 200, 200, 200])
  assert.deepEqual(statusesOf(await askInTurn(other.app, 4)), [200, 200, 429, 429])
  assert.deepEqual(statusesOf(await askInTurn(one.app, 1)), [429])
})

test('a hanging Redis delays no request by more than its timeout, and limits still apply', async t => {
  const server = await redisServer(t)
  if (server === undefined) return
  const here = await instance(t, server.url, { general: perHour(50) })
  // The monitor measures pauses between two ticks, so it must tick before the measured part and once more after it.
  const pauses = monitorEventLoopDelay({ resolution: 1 })
  pauses.enable()
  const before = await askInTurn(here.app, 20)
  await eventually(() => !isLocal(here))
  here.logged.length = 0

  server.process.kill('SIGSTOP')
  const crowd = await Promise.all(Array.from({ length: 10 }, () => ask(here.app)))
  const count = t.mock.method(here.redis, 'evalsha')
  const after = [...crowd, ...(await askInTurn(here.app, 80))]
  const ticks = pauses.count
  await eventually(() => pauses.count > ticks)
  pauses.disable()
  assert.deepEqual(statusesOf(after), [...Array(30).fill(200), ...Array(60).fill(429)])
  // A busy machine may pause this process for longer than the timeout of Redis.
  const bound = percentile(99, before) + pauses.max / 1e6 + 50
  assert.ok(percentile(99, after) < bound, `${percentile(99, after)} ms, not below ${bound}`)
  const forClients = count.mock.calls.filter(call => !String(call.arguments[2]).endsWith(':probe:'))
  assert.equal(forClients.length, 0, 'once the outage is known, no request waits for Redis')

  const told = after.filter(({ status }) => status === 200).map(remaining)
  assert.deepEqual(
    told.toSorted((a, b) => b - a),
    Array.from({ length: 30 }, (_, i) => 29 - i),
    'and none is told otherwise'
  )
  assert.deepEqual(here.logged.filter(line => line === LOCAL).length, 1)

  server.process.kill('SIGCONT')
  await eventually(() => isShared(here))
  assert.equal((await ask(here.app)).status, 429, 'what was taken meanwhile is not forgotten')
  assert.equal((await ask(here.app, '203.0.113.2')).status, 200)
})

test('when Redis hangs, an instance keeps to the last known shared counts', async t => {
  const server = await redisServer(t)
  if (server === undefined) return
  const limits = { general: perHour(10), redisTimeout: 1000 }
  const [one, other] = [await instance(t, server.url, limits), await instance(t, server.url, limits)]
  await askInTurn(one.app, 8)
  assert.equal(remaining(await ask(other.app)), 1)

  server.process.kill('SIGSTOP')
  assert.deepEqual(statusesOf(await askInTurn(other.app, 3)), [200, 429, 429])
  server.process.kill('SIGCONT')
})

test('when Redis dies and comes back empty, no request fails and no quota is reset', async t => {
  const server = await redisServer(t)
  if (server === undefined) return
  const here = await instance(t, server.url, { general: perHour(5), redisTimeout: 1000 })
  assert.deepEqual(statusesOf(await askInTurn(here.app, 3)), [200, 200, 200])

  const gone = once(server.process, 'exit')
  server.process.kill('SIGKILL')
  await gone
  assert.deepEqual(statusesOf(await askInTurn(here.app, 10)), [200, 200, ...Array(8).fill(429)])

  assert.ok(await startRedis(t, server.port))
  await eventually(() => isShared(here))
  assert.equal((await ask(here.app)).status, 429)
  assert.equal((await ask(here.app, '203.0.113.2')).status, 200)
  assert.equal(await here.redis.exists('rhone:rate-limit:general:203.0.113.2'), 1)
})

test('a Redis that rejects writes counts as down until it accepts them, and is logged as such', async t => {
  const server = await redisServer(t)
  if (server === undefined) return
  const here = await instance(t, server.url, { general: perHour(3), redisTimeout: 1000 })
  await here.redis.config('SET', 'maxmemory', '1')
  assert.deepEqual(statusesOf(await askInTurn(here.app, 4)), [200, 200, 200, 429])
  await eventually(() => here.logged.includes(REFUSES_YET) || here.logged.includes(SHARED))
  assert.deepEqual(
    here.logged.filter(line => [REFUSES, SHARED, REFUSES_YET].includes(line)),
    [REFUSES, REFUSES_YET]
  )
  await here.redis.config('SET', 'maxmemory', '0')
  await eventually(() => isShared(here))
})

test('it closes while Redis hangs, and stops probing', async t => {
  const server = await redisServer(t)
  if (server === undefined) return
  const here = await instance(t, server.url, {})
  server.process.kill('SIGSTOP')
  await ask(here.app)
  assert.ok(here.logged.includes(LOCAL))
  await here.app.close()
  server.process.kill('SIGCONT')
  await stays(() => !here.logged.includes(SHARED), 1_100) // longer than the pause between two probes
})

test('"shared" without Redis fails the boot with a clear message', async t => {
  const app = Fastify()
  t.after(() => app.close())
  app.register(rateLimit, { shared: true })
  await assert.rejects(async () => {
    await app.ready()
  }, /rhone-rate-limit: option "shared" needs Redis/)
})

function percentile(percent: number, replies: Reply[]): number {
  const sorted = replies.map(({ milliseconds }) => milliseconds).toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor((sorted.length * percent) / 100))]!
}
