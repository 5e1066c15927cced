import { getHeapStatistics } from 'node:v8'
import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { onEntry } from '../lib/entry.ts'
import { type AppError, errors } from '../lib/errors.ts'
import { type PluginInput, parseOptions } from '../lib/options.ts'
import type { Registry } from '../lib/registry.ts'
import { routeConfig } from '../lib/route-config.ts'
import type { Priority } from './flow.ts'
import { Gate } from './gate.ts'
import { PressureGauge, type PressureLevel, type Steps } from './gauge.ts'
import { type ConcurrencyLimiter, GradientLimiter } from './limiter.ts'
import { PressureMetrics, type ShedReason } from './metrics.ts'
import { PressureOptions } from './options.ts'
import { type PressureSensor, processSensor } from './sensor.ts'

export type { ConcurrencyLimiter, PressureSensor }
export { PressureOptions }

export interface PressureDeps {
  registry?: Registry
  sensor?: PressureSensor
  limiter?: ConcurrencyLimiter
  /**
   * The length of the queue for a commonly needed resource, such as a connection pool: the longer it is, the fewer
   * requests are admitted.
   */
  backlog?: () => number
}

export interface Pressure {
  /**
   * What is refused because of the process's state. 0: at most part of bulk. 1: bulk. 2: normal requests too. 3: all
   * but probes.
   */
  readonly level: PressureLevel
  /** Sustained pressure: the instance should receive no new requests. */
  readonly sustained: boolean
}

declare module 'fastify' {
  interface FastifyInstance {
    pressure: Pressure
  }
}

/** The level from which all requests of a priority are refused; from the level before, a growing fraction is. */
const SHED_FROM = { bulk: 1, normal: 2, webhook: 3, operator: 3 } as const

/** Retry-After in seconds; random per refusal, so that clients refused together do not return together. */
const RETRY_AFTER = [1, 2, 3]

/**
 * Refuses what cannot be served in time, least important first. The gate starts as many requests at once as latency
 * allows, and no more per event-loop turn than its time budget. Overload that gets past the gate shows in the process's
 * state, and a growing fraction of each priority is refused for it.
 */
const pressure: FastifyPluginAsync<PluginInput<typeof PressureOptions, PressureDeps>> = async (app, input) => {
  const options = parseOptions('rhone-pressure', PressureOptions, input, ['registry', 'sensor', 'limiter', 'backlog'])
  const { heap, rss, eventLoopDelay, memoryLimit, sampleInterval } = options
  for (const [key, steps] of Object.entries({ eventLoopDelay, heap, rss }))
    if (steps[0] > steps[1] || steps[1] > steps[2])
      throw new Error(`rhone-pressure: option "${key}": must be ascending, got ${JSON.stringify(steps)}`)
  if (options.minConcurrency > options.maxConcurrency)
    throw new Error('rhone-pressure: option "minConcurrency": must not be above maxConcurrency')

  const meter = new PressureGauge({
    ...options,
    heapUsed: sharesOf(getHeapStatistics().heap_size_limit, heap),
    rss: sharesOf(memoryLimit > 0 ? memoryLimit : Number.POSITIVE_INFINITY, rss)
  })
  app.decorate('pressure', {
    get level() {
      return meter.level
    },
    get sustained() {
      return meter.sustained
    }
  })

  const limiter = input.limiter ?? gradientLimiter(options, input.backlog)
  const metrics = new PressureMetrics(input.registry)
  const refusals = RETRY_AFTER.map(seconds => errors.unavailable(seconds)) as [AppError, ...AppError[]]
  const refuse = (reason: ShedReason, priority: Priority) => {
    metrics.shed(reason, priority)
    return refusals[Math.floor(Math.random() * refusals.length)]!
  }
  const gate = new Gate(app, {
    ...options,
    limiter,
    refuse,
    onWaited: (priority, milliseconds) => metrics.waited(priority, milliseconds),
    onAbandoned: priority => metrics.shed('client_gone', priority)
  })
  metrics.show(input.registry, meter, gate, () => limiter.limit)

  onEntry(app, (request, reply) => {
    if (meter.severity === 0) return gate.receive(request, reply)
    const { priority = 'normal' } = routeConfig(request)
    if (priority === 'probe' || Math.random() >= meter.refusedFrom(SHED_FROM[priority]))
      return gate.receive(request, reply)
    return gate.turnAway(request, refuse(meter.reason, priority))
  })

  const sensor = input.sensor ?? (await processSensor(app, sampleInterval))
  const timer = setInterval(watch, sampleInterval).unref()
  app.addHook('onClose', async () => clearInterval(timer))

  function watch(): void {
    const before = meter.level
    meter.take(sensor.sample(), performance.now())
    if (meter.level === before) return
    app.log[meter.level > before ? 'warn' : 'info'](
      { level: meter.level, reason: meter.reason },
      'pressure has changed'
    )
  }
}

function gradientLimiter(options: PressureOptions, backlog = () => 0): ConcurrencyLimiter {
  const { minConcurrency: min, maxConcurrency: max, latencyTolerance: tolerance } = options
  const initial = Math.max(min, Math.min(max, options.initialConcurrency))
  return new GradientLimiter({ min, max, initial, tolerance, backlog })
}

function sharesOf(whole: number, [first, second, third]: Steps): Steps {
  return [whole * first, whole * second, whole * third]
}

export default fp(pressure, { name: 'rhone-pressure', fastify: '5.x' })
