import type { FastifyReply, FastifyRequest } from 'fastify'
import { type AppError, errors } from '../lib/errors.ts'
import type { Tally } from '../lib/metrics.ts'
import type { OwnRateClass } from '../lib/own-types.ts'
import { addLines } from '../lib/response-head.ts'
import { type LimitFields, limitFields } from './fields.ts'
import { type Quota, quotaOf, type Verdict } from './gcra.ts'
import type { Rate } from './rate.ts'
import type { Check, CreateCheck } from './stock.ts'
import type { LocalStore, RateLimitStore } from './store.ts'

export const RATE_CLASSES = ['general', 'auth', 'deploy', 'webhook', 'strict', 'user'] as const
export type RateClass = (typeof RATE_CLASSES)[number] | OwnRateClass

export interface RateLimiter {
  readonly classes: readonly RateClass[]
  /** Counts something other than a request, or by another key: in this instance only, and without a reply. */
  take(rateClass: RateClass, key: string): Verdict
  /** Returns the token that a step took for a request of this class and key. */
  refund(rateClass: RateClass, key: string): void | Promise<void>
  /**
   * A step that counts requests, writes the `RateLimit` fields next to those of an earlier step, and refuses with
   * RATE_LIMIT. A request without a class or a key is not counted. It may run at entry or in a handler.
   */
  step(
    classOf: (request: FastifyRequest) => RateClass | false,
    keyOf: (request: FastifyRequest) => string | undefined
  ): CountingStep
}

/** Returns the refusal, if there is one. */
export type CountingStep = (
  request: FastifyRequest,
  reply: FastifyReply
) => AppError | undefined | Promise<AppError | undefined>

export interface LimiterSettings {
  /** By class; lists every class. */
  readonly rates: Readonly<Record<string, Rate>>
  readonly memory: LocalStore
  /** Set if requests are counted elsewhere than in `memory`. */
  readonly createCheck: CreateCheck | undefined
  readonly refund: NonNullable<RateLimitStore['refund']>
  readonly refusals: (rateClass: RateClass) => Tally
}

/** What is known about a class at boot. */
interface ClassEntry {
  readonly rateClass: RateClass
  readonly quota: Quota
  readonly fields: (verdict: Verdict) => LimitFields
  readonly refusal: (retryAfter: number) => AppError
  readonly refused: Tally
}

export function createLimiter({ rates, memory, createCheck, refund, refusals }: LimiterSettings): RateLimiter {
  const classes = Object.keys(rates) as RateClass[]
  const perClass = <Entry>(make: (rateClass: RateClass) => Entry) =>
    Object.fromEntries(classes.map(rateClass => [rateClass, make(rateClass)])) as Record<RateClass, Entry>
  const entries = perClass(rateClass => classEntry(rateClass, rates[rateClass]!, refusals(rateClass)))

  function settle(entry: ClassEntry, verdict: Verdict, reply: FastifyReply): AppError | undefined {
    writeFields(reply, entry.fields(verdict))
    if (verdict.allowed) return undefined
    entry.refused.add()
    return entry.refusal(verdict.retryAfter)
  }

  return {
    classes,

    take: (rateClass, key) => memory.take(rateClass, key, entries[rateClass].quota),

    refund: (rateClass, key) => refund(rateClass, key, entries[rateClass].quota),

    step(classOf, keyOf) {
      // Checks run only for requests that have passed the step below, which have a key.
      const knownKeyOf = keyOf as (request: FastifyRequest) => string
      const checks = createCheck && perClass<Check>(name => createCheck(name, entries[name].quota, knownKeyOf))

      return (request, reply) => {
        const rateClass = classOf(request)
        if (rateClass === false) return
        const key = keyOf(request)
        if (key === undefined) return

        const entry = entries[rateClass]
        if (checks === undefined) return settle(entry, memory.take(rateClass, key, entry.quota), reply)
        return checks[rateClass](request).then(verdict => settle(entry, verdict, reply))
      }
    }
  }
}

function classEntry(rateClass: RateClass, rate: Rate, refused: Tally): ClassEntry {
  const quota = quotaOf(rate)
  return {
    rateClass,
    quota,
    fields: limitFields(rateClass, quota),
    refusal: latestRefusal(rateClass),
    refused
  }
}

/** Refusals differ only in their wait, and in a flood not even in that: the latest error is rethrown. */
function latestRefusal(rateClass: RateClass): (retryAfter: number) => AppError {
  const limit = `The limit "${rateClass}" is exhausted`
  let latest = errors.rateLimit(0, limit)
  let wait = 0
  return retryAfter => {
    if (wait !== retryAfter) {
      latest = errors.rateLimit(retryAfter, limit)
      wait = retryAfter
    }
    return latest
  }
}

/** Both fields are lists: a request that is counted twice names both quotas. */
function writeFields(reply: FastifyReply, { lines, policy, limit }: LimitFields): void {
  if (addLines(reply, lines)) return
  const earlier = reply.getHeader('ratelimit')
  if (earlier === undefined) {
    reply.header('ratelimit-policy', policy).header('ratelimit', limit)
    return
  }
  reply
    .header('ratelimit-policy', `${reply.getHeader('ratelimit-policy')}, ${policy}`)
    .header('ratelimit', `${earlier}, ${limit}`)
}
