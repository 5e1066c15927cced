import { createHash } from 'node:crypto'
import { type Quota, type Verdict, verdict } from './gcra.ts'
import type { RateLimitStore } from './store.ts'

/** The required part of a Redis client; ioredis provides it for a single server and for a cluster. */
export interface RedisScripts {
  evalsha(sha1: string, numberOfKeys: number, ...keysAndArguments: string[]): Promise<unknown>
  eval(script: string, numberOfKeys: number, ...keysAndArguments: string[]): Promise<unknown>
}

/**
 * The algorithm of gcra.ts by the Redis clock, in microseconds. KEYS: the bucket. ARGV: interval and capacity. Returns
 * whether the request was allowed, and the debt after it.
 *
 * The capacity also caps a debt on reading, because Redis's wall clock may be set back. Half a microsecond is the
 * rounding error of a double of this size.
 */
const TAKE = script(`
local interval, capacity = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local debt = (tonumber(redis.call('GET', KEYS[1])) or now) - now
debt = math.min(math.max(debt, 0), capacity)
if debt + interval > capacity + interval * 1e-6 + 0.5 then
  return { 0, string.format('%.3f', debt) }
end
debt = debt + interval
redis.call('SET', KEYS[1], string.format('%.3f', now + debt), 'PX', math.ceil(debt / 1000))
return { 1, string.format('%.3f', debt) }
`)

/** Subtracts an interval from the debt. A bucket that is full as a result has no key. */
const REFUND = script(`
local interval = tonumber(ARGV[1])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local debt = (tonumber(redis.call('GET', KEYS[1])) or now) - now - interval
if debt <= 0 then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], string.format('%.3f', now + debt), 'PX', math.ceil(debt / 1000))
end
return 1
`)

export interface Count {
  readonly allowed: boolean
  /** The bucket's debt after the request, in milliseconds. */
  readonly debt: number
}

/** Buckets shared by all instances: one key each, removed as soon as it is full again. */
export class RedisStore implements RateLimitStore {
  readonly #redis: RedisScripts
  readonly #prefix: string

  constructor(redis: RedisScripts, prefix: string) {
    this.#redis = redis
    this.#prefix = prefix
  }

  async take(rateClass: string, key: string, quota: Quota): Promise<Verdict> {
    const { allowed, debt } = await this.count(rateClass, key, quota)
    return verdict(allowed, debt, quota)
  }

  async refund(rateClass: string, key: string, { interval }: Quota): Promise<void> {
    await this.#run(REFUND, this.#bucket(rateClass, key), String(interval * 1000))
  }

  async count(rateClass: string, key: string, { interval, capacity }: Quota): Promise<Count> {
    const quota = [String(interval * 1000), String(capacity * 1000)]
    const reply = await this.#run(TAKE, this.#bucket(rateClass, key), ...quota)
    const [allowed, debt] = reply as [allowed: number, debt: string]
    return { allowed: allowed === 1, debt: Number(debt) / 1000 }
  }

  #bucket(rateClass: string, key: string): string {
    return `${this.#prefix}${rateClass}:${key}`
  }

  async #run({ text, sha1 }: Script, ...bucketAndQuota: string[]): Promise<unknown> {
    try {
      return await this.#redis.evalsha(sha1, 1, ...bucketAndQuota)
    } catch (error) {
      if (!(error instanceof Error) || !error.message.startsWith('NOSCRIPT')) throw error
      return await this.#redis.eval(text, 1, ...bucketAndQuota)
    }
  }
}

interface Script {
  readonly text: string
  readonly sha1: string
}

function script(text: string): Script {
  return { text, sha1: createHash('sha1').update(text).digest('hex') }
}
