import { createHash } from 'node:crypto'
import { type Quota, type Verdict, verdict } from './gcra.ts'
import type { RateLimitStore } from './store.ts'

/** What is asked of a Redis client; ioredis has it, for one server as for a cluster. */
export interface RedisScripts {
  evalsha(sha1: string, numberOfKeys: number, ...keysAndArguments: string[]): Promise<unknown>
  eval(script: string, numberOfKeys: number, ...keysAndArguments: string[]): Promise<unknown>
}

/**
 * The algorithm of gcra.ts by the clock of Redis, in microseconds. KEYS: the bucket. ARGV: interval and capacity.
 * Replies whether the request was allowed, and the debt after it.
 *
 * The capacity also bounds a debt that is read, for the wall clock of Redis may be set back. Half a microsecond is what
 * a double of this size can lose.
 */
const TAKE = `
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
`
const TAKE_SHA1 = createHash('sha1').update(TAKE).digest('hex')

export interface Count {
  readonly allowed: boolean
  /** Of the bucket, after the request, in milliseconds. */
  readonly debt: number
}

/** Buckets that all instances share: one key each, gone as soon as it is full again. */
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

  async count(rateClass: string, key: string, { interval, capacity }: Quota): Promise<Count> {
    const bucket = `${this.#prefix}${rateClass}:${key}`
    const [allowed, debt] = await this.#run(bucket, String(interval * 1000), String(capacity * 1000))
    return { allowed: allowed === 1, debt: Number(debt) / 1000 }
  }

  async #run(...bucketAndQuota: string[]): Promise<[allowed: number, debt: string]> {
    try {
      return (await this.#redis.evalsha(TAKE_SHA1, 1, ...bucketAndQuota)) as [number, string]
    } catch (error) {
      if (!(error instanceof Error) || !error.message.startsWith('NOSCRIPT')) throw error
      return (await this.#redis.eval(TAKE, 1, ...bucketAndQuota)) as [number, string]
    }
  }
}
