import { type Static, Type } from '@sinclair/typebox'
import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { counter, gauge } from './lib/metrics.ts'
import { type PluginInput, parseOptions } from './lib/options.ts'
import type { Registry } from './lib/registry.ts'

export const ChoresOptions = Type.Object(
  {
    jitter: Type.Number({
      default: 0.1,
      minimum: 0,
      maximum: 1,
      description: 'Random extension of each interval, as a share of it, so that instances do not run in step.'
    })
  },
  { additionalProperties: false }
)
export type ChoresOptions = Static<typeof ChoresOptions>

/** Recurring work, independent of any request. */
export interface Chore {
  readonly name: string
  /** Milliseconds between the end of one run and the next. */
  readonly every: number
  /**
   * Does the work in steps. It may be interrupted anywhere; the next run, here or on another instance, continues it.
   * Between steps it checks the signal, and ends early when the app closes.
   */
  readonly run: (signal: AbortSignal) => Promise<void>
}

export interface ChoresDeps {
  chores?: readonly Chore[]
  /** While it returns false, no chore runs. */
  isReady?: () => boolean
  registry?: Registry
}

/** Created at the start: `rate()` cannot see the event that creates a series. */
const OUTCOMES = ['success', 'failure']

/** Runs recurring work, apart from any request. A chore that fails is tried again at its next time. */
const chores: FastifyPluginAsync<PluginInput<typeof ChoresOptions, ChoresDeps>> = async (app, input) => {
  const { jitter } = parseOptions('rhone-chores', ChoresOptions, input, ['chores', 'isReady', 'registry'])
  const { chores = [], isReady = () => true } = input
  const runs = counter(input.registry, {
    name: 'rhone_chores_total',
    help: 'Runs of chores, by outcome.',
    labelNames: ['chore', 'outcome']
  })
  const succeeded = gauge(input.registry, {
    name: 'rhone_chore_last_success_timestamp_seconds',
    help: 'When a chore last succeeded on this instance.',
    labelNames: ['chore'],
    aggregator: 'max'
  })
  for (const { name } of chores) for (const outcome of OUTCOMES) runs.inc({ chore: name, outcome }, 0)
  const closing = new AbortController()
  const timers = new Map<string, NodeJS.Timeout>()
  const running = new Set<Promise<void>>()
  const failing = new Set<string>()

  async function attempt({ name, run }: Chore): Promise<void> {
    try {
      await run(closing.signal)
      runs.inc({ chore: name, outcome: 'success' })
      succeeded.set({ chore: name }, Date.now() / 1_000)
      failing.delete(name)
    } catch (error) {
      runs.inc({ chore: name, outcome: 'failure' })
      // Log one line per outage: some chores run every second.
      if (!failing.has(name) && !closing.signal.aborted) app.log.error({ err: error, chore: name }, 'a chore failed')
      failing.add(name)
    }
  }

  async function turn(chore: Chore): Promise<void> {
    if (isReady()) {
      const run = attempt(chore)
      running.add(run)
      await run
      running.delete(run)
    }
    schedule(chore)
  }

  function schedule(chore: Chore, pause = chore.every * (1 + Math.random() * jitter)): void {
    if (!closing.signal.aborted) timers.set(chore.name, setTimeout(turn, pause, chore).unref())
  }

  app.addHook('onReady', async () => {
    // The first run of each comes soon, because the process may not live until the second.
    for (const chore of chores) schedule(chore, Math.min(chore.every, 1_000 * (1 + Math.random())))
  })
  app.addHook('onClose', async () => {
    closing.abort()
    for (const timer of timers.values()) clearTimeout(timer)
    await Promise.all(running)
  })
}

export default fp(chores, { name: 'rhone-chores', fastify: '5.x' })
