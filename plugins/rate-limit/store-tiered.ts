import type { FastifyBaseLogger } from 'fastify'
import { type Quota, quotaOf, type Verdict, verdict } from './gcra.ts'
import type { LocalStore, RateLimitStore } from './store.ts'
import type { RedisStore } from './store-redis.ts'

/** Milliseconds between attempts to reach a failed Redis. */
const PROBE_INTERVAL = 1000
/** Key that probes are counted under: a bucket used by nothing else, which the probes of all instances never empty. */
const PROBE_QUOTA = quotaOf({ ratePerSecond: 1000, burst: 1000 })

export interface TieredSettings {
  readonly shared: RedisStore
  readonly local: LocalStore
  /** Maximum milliseconds that a request waits for Redis. */
  readonly timeout: number
  readonly log: FastifyBaseLogger
}

/**
 * Redis counts, this process remembers. Every answer from Redis is copied into the local buckets, which
 *
 * - refuse without asking again: an empty bucket stays empty until it gains its next token, so a remembered refusal is
 *   as accurate as a fresh one, and a flood of refused requests never reaches Redis;
 * - continue from the shared state when Redis is slow or gone: the limits hold, per instance;
 * - keep counting, so that a Redis that returns without its data gives no client a second burst here.
 *
 * The first failure switches all requests to the local buckets; from then on only a background probe waits for Redis,
 * until it answers in time again.
 */
export class TieredStore implements RateLimitStore {
  readonly #shared: RedisStore
  readonly #local: LocalStore
  readonly #timeout: number
  readonly #log: FastifyBaseLogger
  #probing: NodeJS.Timeout | undefined

  constructor({ shared, local, timeout, log }: TieredSettings) {
    this.#shared = shared
    this.#local = local
    this.#timeout = timeout
    this.#log = log
  }

  take(rateClass: string, key: string, quota: Quota): Verdict | Promise<Verdict> {
    const refusal = this.#local.refusal(rateClass, key, quota)
    if (refusal !== undefined) return refusal
    return this.#probing === undefined
      ? this.#takeShared(rateClass, key, quota)
      : this.#local.take(rateClass, key, quota)
  }

  /** Both here and in Redis; time makes up for a refund that does not reach Redis. */
  async refund(rateClass: string, key: string, quota: Quota): Promise<void> {
    this.#local.refund(rateClass, key, quota)
    if (this.#probing === undefined)
      await this.#shared.refund(rateClass, key, quota).catch(cause => this.#distrust(cause))
  }

  close(): void {
    clearInterval(this.#probing)
  }

  #takeShared(rateClass: string, key: string, quota: Quota): Promise<Verdict> {
    const sentAt = this.#local.now()
    return new Promise(resolve => {
      let waiting = true
      const fallBack = (cause: unknown) => {
        if (!waiting) return
        waiting = false
        clearTimeout(timer)
        this.#distrust(cause)
        resolve(this.#local.take(rateClass, key, quota))
      }
      // A late event loop runs timers before it reads sockets: the answer may already be there, and then it counts.
      const late = new Error(`no answer within ${this.#timeout} ms`)
      const timer = setTimeout(() => setImmediate(fallBack, late), this.#timeout)

      this.#shared.count(rateClass, key, quota).then(({ allowed, debt }) => {
        // Useful even if it comes too late, although the request has been counted here by then. As of the time of
        // sending, so that the copy never runs ahead of Redis.
        const known = this.#local.learn(rateClass, key, debt, sentAt, waiting && allowed ? quota.interval : 0)
        if (!waiting) return
        waiting = false
        clearTimeout(timer)
        resolve(verdict(allowed, known, quota))
      }, fallBack)
    })
  }

  #distrust(cause: unknown): void {
    if (this.#probing !== undefined) return
    this.#log.warn({ err: cause }, `rate limits are counted per instance: ${wordOf(cause)}`)
    this.#probing = setInterval(() => this.#probe(), PROBE_INTERVAL).unref()
  }

  /** Counts something, because a Redis that is full or read-only still answers a PING. */
  #probe(): void {
    const startedAt = this.#local.now()
    this.#shared.count('probe', '', PROBE_QUOTA).then(
      () => {
        if (this.#local.now() - startedAt <= this.#timeout) this.#trust()
      },
      cause => this.#log.debug({ err: cause }, `${wordOf(cause)} yet`)
    )
  }

  #trust(): void {
    if (this.#probing === undefined) return
    clearInterval(this.#probing)
    this.#probing = undefined
    this.#log.info('rate limits are shared again: Redis answers')
  }
}

/** READONLY, OOM and the like are answers, too. */
const wordOf = (cause: unknown): string =>
  cause instanceof Error && cause.name === 'ReplyError' ? 'Redis rejects writes' : 'Redis does not answer'
