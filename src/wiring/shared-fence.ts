import { setTimeout as delay } from 'node:timers/promises'
import type { TimelineFence } from '../../plugins/database/index.ts'
import type { RedisClient } from '../../plugins/redis/index.ts'

/** A sorted set: systems by their highest timeline. */
const KEY = 'rhone:database-timelines'
/** Milliseconds that the first survey waits for a Redis that is being connected to. */
const FIRST_WAIT = 600
const PAUSE = 10

/**
 * Shares the highest timelines over Redis, so that a server on another machine refuses an old primary also where it
 * cannot see the new one, and no client has been to both. Redis is a help: without it, or after it has lost
 * everything, each server goes on from what it knows itself, and tells it again.
 *
 * @param redis undefined until there is a client
 * @param onError called when Redis answers, but does not do what is asked for; once until it does
 */
export function sharedFence(
  own: TimelineFence,
  redis: () => RedisClient | undefined,
  onError: (error: unknown) => void
): TimelineFence {
  const systems = new Set<string>()
  let isFirst = true
  let hasFailed = false

  async function exchange(client: RedisClient): Promise<void> {
    const flat = await client.zrange(KEY, 0, '-1', 'WITHSCORES')
    const shared = new Map<string, number>()
    for (let at = 0; at + 1 < flat.length; at += 2) shared.set(flat[at]!, Number(flat[at + 1]))
    for (const [system, timeline] of shared) if (isTimeline(timeline)) own.raise(system, timeline)
    for (const system of systems) {
      const highest = own.highest(system)
      if (highest > (shared.get(system) ?? 0)) await client.zadd(KEY, 'GT', highest, system)
    }
  }

  return {
    highest: system => own.highest(system),
    raise(system, timeline) {
      systems.add(system)
      own.raise(system, timeline)
    },
    saw: state => own.saw?.(state),
    async refresh() {
      const client = isFirst ? await connected(redis) : redis()
      isFirst = false
      if (client?.status !== 'ready') return
      await exchange(client).then(
        () => {
          hasFailed = false
        },
        (error: unknown) => {
          if (!hasFailed && client.status === 'ready') onError(error)
          hasFailed = true
        }
      )
    }
  }
}

/** PostgreSQL counts them in 32 bits. */
const isTimeline = (value: number) => Number.isInteger(value) && value > 0 && value <= 0xffffffff

async function connected(redis: () => RedisClient | undefined): Promise<RedisClient | undefined> {
  const end = performance.now() + FIRST_WAIT
  while (redis()?.status !== 'ready' && performance.now() < end) await delay(PAUSE)
  return redis()
}
