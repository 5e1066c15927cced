import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import fc from 'fast-check'
import { Redis } from 'ioredis'
import { type Quota, quotaOf, type Verdict } from '../../plugins/rate-limit/gcra.ts'
import { parseRate } from '../../plugins/rate-limit/rate.ts'
import type { RateLimitStore } from '../../plugins/rate-limit/store.ts'
import { MemoryStore } from '../../plugins/rate-limit/store-memory.ts'
import { RedisStore } from '../../plugins/rate-limit/store-redis.ts'
import { createSharedBuckets, SharedStore } from '../../plugins/rate-limit/store-shared.ts'
import { TieredStore } from '../../plugins/rate-limit/store-tiered.ts'
import { redisServer } from '../support/redis.ts'
import { thoroughly } from '../support/thorough.ts'

const quota = (rate: string): Quota => quotaOf(parseRate(rate))

interface Subject {
  store: RateLimitStore
  /** Advances time by milliseconds without waiting, so that a slow machine makes no difference. */
  pass(milliseconds: number): Promise<void>
}
type Setup = (t: TestContext) => Promise<Subject | undefined>

const inMemory: Setup = async () => {
  let now = 12_345.678
  return {
    store: new MemoryStore(100, () => now),
    pass: async milliseconds => {
      now += milliseconds
    }
  }
}

const inSharedMemory: Setup = async () => {
  let now = 12_345.678
  return {
    store: new SharedStore(createSharedBuckets(100), undefined, () => now),
    pass: async milliseconds => {
      now += milliseconds
    }
  }
}

const inRedis: Setup = async t => {
  const redis = await redisClient(t)
  return redis && { store: new RedisStore(redis, 'test:'), pass: milliseconds => age(redis, milliseconds) }
}

const inBoth = async (t: TestContext): Promise<(Subject & { redis: Redis }) | undefined> => {
  const redis = await redisClient(t)
  if (redis === undefined) return undefined
  let passed = 0
  const local = new MemoryStore(100, () => performance.now() + passed)
  const store = new TieredStore({ shared: new RedisStore(redis, 'test:'), local, timeout: 5000, log: silent })
  t.after(() => store.close())
  return {
    redis,
    store,
    async pass(milliseconds) {
      passed += milliseconds
      await age(redis, milliseconds)
    }
  }
}

const setups = { memory: inMemory, 'shared memory': inSharedMemory, Redis: inRedis, 'Redis over memory': inBoth }
for (const [name, setup] of Object.entries(setups)) {
  const withStore = (sentence: string, body: (subject: Subject) => Promise<void>) =>
    test(`${name}: ${sentence}`, async t => {
      const subject = await setup(t)
      if (subject !== undefined) await body(subject)
    })

  withStore('a fresh bucket allows its burst and no more', async ({ store }) => {
    const minutely = quota('1/m:3')
    const verdicts = await inTurn(5, () => store.take('general', 'a', minutely))
    assert.deepEqual(verdicts.map(allowed), [true, true, true, false, false])
    assert.deepEqual(
      verdicts.map(verdict => verdict.remaining),
      [2, 1, 0, 0, 0]
    )
    for (const { retryAfter } of verdicts) assert.ok(retryAfter > 55 && retryAfter <= 60, `${retryAfter}`)
  })

  withStore('requests that come all at once get the burst together', async ({ store }) => {
    const verdicts = await Promise.all(Array.from({ length: 40 }, () => store.take('general', 'a', quota('1/h:7'))))
    assert.equal(verdicts.filter(allowed).length, 7)
  })

  withStore(
    'a refused request succeeds after the seconds it was told, and not much sooner',
    async ({ store, pass }) => {
      const minutely = quota('1/m:2')
      const take = () => store.take('general', 'a', minutely)
      await inTurn(2, take)
      const { retryAfter } = await take()
      assert.ok(retryAfter > 55 && retryAfter <= 60, `${retryAfter}`)
      await pass(30_000)
      assert.equal((await take()).allowed, false)
      await pass(retryAfter * 1000 - 30_000)
      assert.equal((await take()).allowed, true)
      assert.equal((await take()).allowed, false, 'one minute has brought one token')
    }
  )

  withStore('a refused request costs nothing', async ({ store, pass }) => {
    const minutely = quota('1/m:1')
    await store.take('general', 'a', minutely)
    assert.equal((await inTurn(50, () => store.take('general', 'a', minutely))).some(allowed), false)
    await pass(60_000)
    assert.equal((await store.take('general', 'a', minutely)).allowed, true)
  })

  withStore('a token that is returned can be taken again, and a full bucket gets no fuller', async ({ store }) => {
    const hourly = quota('1/h:2')
    const take = () => store.take('general', 'a', hourly)
    await inTurn(2, take)
    await store.refund?.('general', 'a', hourly)
    assert.deepEqual((await inTurn(2, take)).map(allowed), [true, false])
    for (let count = 0; count < 5; count++) await store.refund?.('general', 'a', hourly)
    await store.refund?.('general', 'never seen', hourly)
    assert.deepEqual((await inTurn(3, take)).map(allowed), [true, true, false])
  })

  withStore('a bucket that was left alone is full, and never more than that', async ({ store, pass }) => {
    const minutely = quota('1/m:2')
    await inTurn(2, () => store.take('general', 'a', minutely))
    await pass(420_000)
    assert.deepEqual((await inTurn(3, () => store.take('general', 'a', minutely))).map(allowed), [true, true, false])
  })

  withStore('other keys and other classes have buckets of their own', async ({ store }) => {
    const hourly = quota('1/h:1')
    await store.take('general', 'a', hourly)
    assert.equal((await store.take('general', 'a', hourly)).allowed, false)
    assert.equal((await store.take('general', 'b', hourly)).allowed, true)
    assert.equal((await store.take('auth', 'a', hourly)).allowed, true)
  })
}

test('rates are written as rate/unit:burst', () => {
  assert.deepEqual(parseRate('100/s:200'), { ratePerSecond: 100, burst: 200 })
  assert.deepEqual(parseRate('0.1/s:5'), { ratePerSecond: 0.1, burst: 5 })
  assert.equal(quota('10/m:5').interval, 6000)
  assert.equal(quota('3/h:1').interval, 1_200_000)
  assert.equal(quota('1/d:1').interval, 86_400_000)
})

test('an invalid rate is quoted with the reason', () => {
  for (const text of ['', '100', '100/s', '100:200', '-1/s:2', '1/y:2', '1/s:2.5', '1e3/s:2', ' 1/s:2'])
    assert.throws(() => parseRate(text), /is not a rate; write rate\/unit:burst/, text)
  assert.throws(() => parseRate('0/s:5'), /"0\/s:5" would refuse forever/)
  assert.throws(() => parseRate('5/s:0'), /"5\/s:0" would refuse everything/)
})

/** A token bucket in exact arithmetic: the level counts fractions of a token, and each millisecond adds `rate`. */
class ExactBucket {
  readonly #rate: bigint
  readonly #token: bigint
  readonly #full: bigint
  #level: bigint

  constructor(rate: number, unitSeconds: number, burst: number) {
    this.#rate = BigInt(rate)
    this.#token = BigInt(unitSeconds) * 1000n
    this.#full = BigInt(burst) * this.#token
    this.#level = this.#full
  }

  pass(milliseconds: number): void {
    const level = this.#level + BigInt(milliseconds) * this.#rate
    this.#level = level > this.#full ? this.#full : level
  }

  take(): Verdict {
    const isAllowed = this.#level >= this.#token
    if (isAllowed) this.#level -= this.#token
    const remaining = this.#level / this.#token
    const missing = (remaining + 1n) * this.#token - this.#level
    const aSecond = this.#rate * 1000n
    return {
      allowed: isAllowed,
      remaining: Number(remaining),
      retryAfter: Number((missing + aSecond - 1n) / aSecond)
    }
  }
}

test('the memory store agrees with exact arithmetic, for any rates and times', () => {
  const unit = fc.constantFrom({ suffix: 's', seconds: 1 }, { suffix: 'm', seconds: 60 })
  const step = fc.oneof(
    fc.integer({ min: 0, max: 5 }),
    fc.integer({ min: 0, max: 2000 }),
    fc.integer({ max: 200_000, min: 0 })
  )
  const scenario = [
    fc.integer({ min: 1, max: 500 }),
    unit,
    fc.integer({ min: 1, max: 20 }),
    fc.array(step, { maxLength: 100, size: 'max' })
  ] as const

  fc.assert(
    fc.property(...scenario, fc.constantFrom(0, 9_876_543.21), (rate, { suffix, seconds }, burst, steps, start) => {
      let now = start
      const store = new MemoryStore(10, () => now)
      const exact = new ExactBucket(rate, seconds, burst)
      const tested = quota(`${rate}/${suffix}:${burst}`)
      for (const milliseconds of steps) {
        now += milliseconds
        exact.pass(milliseconds)
        assert.deepEqual(store.take('general', 'a', tested), exact.take())
      }
    }),
    { numRuns: thoroughly(1_000, 20_000) }
  )
})

test('a refused request gets the exact wait, to the millisecond in the last second', () => {
  const rates = fc.tuple(
    fc.integer({ min: 1, max: 300 }),
    fc.constantFrom('s', 'm', 'h'),
    fc.integer({ min: 1, max: 9 })
  )
  fc.assert(
    fc.property(rates, fc.double({ min: 0, max: 1e9, noNaN: true }), ([rate, unit, burst], start) => {
      let now = start
      const store = new MemoryStore(10, () => now)
      const tested = quota(`${rate}/${unit}:${burst}`)
      const take = () => store.take('general', 'a', tested)
      let last = take()
      while (last.allowed) last = take()

      now = start + last.retryAfter * 1000
      assert.equal(take().allowed, true)
    })
  )
})

test('twenty thousand new addresses do not affect a throttled key', () => {
  let now = 0
  const store = new MemoryStore(1000, () => now)
  const slow = quota('1/m:5')
  const throttled = () => store.take('auth', 'throttled', slow)
  for (let i = 0; i < 5; i++) throttled()

  for (let i = 0; i < 20_000; i++) {
    now += 1
    store.take('auth', `2001:db8:${i.toString(16)}::/64`, slow)
    if (i % 100 === 0) assert.equal(throttled().allowed, false)
  }
  now = 60_000
  assert.equal(throttled().allowed, true)
  assert.equal(throttled().allowed, false)
})

test('while every bucket is in use, new keys share one', () => {
  let now = 0
  const store = new MemoryStore(2, () => now)
  const slow = quota('1/m:3')
  const take = (key: string) => store.take('auth', key, slow).allowed
  take('a')
  take('b')
  assert.deepEqual(['c', 'd', 'e', 'f', 'c'].map(take), [true, true, true, false, false])
  assert.deepEqual(['a', 'b'].map(take), [true, true], 'those who were there have what is theirs')
  now += 60_000 * 3
  assert.deepEqual(['c', 'c', 'c'].map(take), [true, true, true], 'a bucket that is full again makes room')
})

test('a million changing addresses need no more memory than the concurrent ones', () => {
  let now = 0
  const store = new MemoryStore(100_000, () => now)
  const before = usedMemory()
  for (let i = 0; i < 1_000_000; i++) {
    now += 0.1
    store.take('general', stranger(i), quota('100/s:200'))
  }
  const grown = usedMemory() - before
  assert.ok(grown < 2_000_000, `${grown} bytes more`)
  assert.equal(store.take('general', 'somebody', quota('100/s:200')).allowed, true)
})

test('memory stays bounded while no client leaves', () => {
  const store = new MemoryStore(10_000, () => 0)
  const before = usedMemory()
  for (let i = 0; i < 500_000; i++) store.take('strict', stranger(i), quota('0.1/s:5'))
  const grown = usedMemory() - before
  assert.ok(grown < 5_000_000, `${grown} bytes more`)
  assert.equal(store.take('strict', 'somebody', quota('0.1/s:5')).allowed, false)
})

test('Redis: a bucket expires when it is full again, and not before', async t => {
  const redis = await redisClient(t)
  if (redis === undefined) return
  await inTurn(2, () => new RedisStore(redis, 'test:').take('deploy', 'a', quota('10/m:5')))
  const ttl = await redis.pttl('test:deploy:a')
  assert.ok(ttl > 7_000 && ttl <= 12_000, `${ttl}`)
})

test('Redis: a clock that was set back throttles a client no longer than an empty bucket would', async t => {
  const redis = await redisClient(t)
  if (redis === undefined) return
  const inAnHour = (Date.now() + 3_600_000) * 1000
  await redis.set('test:deploy:a', String(inAnHour))
  const verdict = await new RedisStore(redis, 'test:').take('deploy', 'a', quota('10/m:5'))
  assert.deepEqual(verdict, { allowed: false, remaining: 0, retryAfter: 6 })
})

test('Redis: it recovers after the scripts were flushed', async t => {
  const redis = await redisClient(t)
  if (redis === undefined) return
  const store = new RedisStore(redis, 'test:')
  await store.take('deploy', 'a', quota('10/m:2'))
  await redis.script('FLUSH')
  assert.equal((await store.take('deploy', 'a', quota('10/m:2'))).remaining, 0)
})

test('Redis over memory: a known refusal is repeated without asking Redis, for as long as it is valid', async t => {
  const subject = await inBoth(t)
  if (subject === undefined) return
  const { redis, store, pass } = subject
  const other = new RedisStore(redis, 'test:')
  const quarterly = quota('4/m:4')
  await inTurn(4, () => other.take('general', 'a', quarterly))

  assert.equal((await store.take('general', 'a', quarterly)).allowed, false, 'another instance took all')
  const asked = await commandsOf(redis)
  assert.equal((await inTurn(20, () => store.take('general', 'a', quarterly))).some(allowed), false)
  assert.equal((await commandsOf(redis)) - asked, 1, 'only the question after the count')
  await pass(15_000)
  assert.equal((await store.take('general', 'a', quarterly)).allowed, true)
})

test('Redis over memory: a Redis that lost its counters gives no client a second burst', async t => {
  const subject = await inBoth(t)
  if (subject === undefined) return
  const { redis, store, pass } = subject
  const quarterly = quota('4/m:4')
  await inTurn(4, () => store.take('general', 'a', quarterly))

  await redis.flushall()
  await pass(30_000)
  const verdicts = await inTurn(4, () => store.take('general', 'a', quarterly))
  assert.deepEqual(verdicts.map(allowed), [true, true, false, false], 'half a minute has brought two tokens')
  assert.deepEqual(
    verdicts.slice(0, 2).map(verdict => verdict.remaining),
    [1, 0],
    'and nobody is told otherwise'
  )
  assert.ok(verdicts[2]!.retryAfter > 10 && verdicts[2]!.retryAfter <= 15, `${verdicts[2]!.retryAfter}`)
})

test('Redis over memory: no request is refused that Redis would admit, even if others take from the bucket', async t => {
  const subject = await inBoth(t)
  if (subject === undefined) return
  const { redis, store, pass } = subject
  const other = new RedisStore(redis, 'test:')
  const quarterly = quota('4/m:4')
  const take = (from: RateLimitStore) => from.take('general', 'a', quarterly)
  let refusals = 0
  for (let round = 0; round < 60; round++) {
    if (round % 3 === 0) await take(other)
    await Promise.all(Array.from({ length: round % 4 }, () => take(store)))
    const asked = performance.now()
    const verdict = await take(store)
    if (!verdict.allowed) {
      refusals++
      const isAdmitted = (await take(other)).allowed
      // On a slow machine, the next token may have arrived in between.
      const waited = (performance.now() - asked) / 1_000
      assert.ok(!isAdmitted || waited >= verdict.retryAfter, `round ${round}: ${waited} s of ${verdict.retryAfter}`)
    }
    await pass((round * 7_919) % 40_000)
  }
  assert.ok(refusals > 5 && refusals < 55, `${refusals} of 60`)
})

setFlagsFromString('--expose-gc')
const collectGarbage: () => void = runInNewContext('gc')
const allowed = (verdict: Verdict): boolean => verdict.allowed
const silent = { warn() {}, info() {}, debug() {} } as never

async function inTurn<T>(times: number, run: () => T | Promise<T>): Promise<T[]> {
  const results: T[] = []
  for (let i = 0; i < times; i++) results.push(await run())
  return results
}

async function commandsOf(redis: Redis): Promise<number> {
  return Number(/total_commands_processed:(\d+)/.exec(await redis.info('stats'))?.[1])
}

/** Moves the instant at which each bucket is full again towards the past. */
async function age(redis: Redis, milliseconds: number): Promise<void> {
  await redis.eval(
    `for _, key in ipairs(redis.call('KEYS', 'test:*')) do
      redis.call('SET', key, string.format('%.3f', redis.call('GET', key) - ARGV[1] * 1000), 'KEEPTTL')
    end`,
    0,
    milliseconds
  )
}

async function redisClient(t: TestContext): Promise<Redis | undefined> {
  const server = await redisServer(t)
  if (server === undefined) return undefined
  const redis = new Redis(server.url)
  t.after(() => redis.disconnect())
  return redis
}

const stranger = (i: number): string => `2001:db8:${i >> 16}:${i & 0xffff}::/64`

function usedMemory(): number {
  collectGarbage()
  const { heapUsed, arrayBuffers } = process.memoryUsage()
  return heapUsed + arrayBuffers
}
