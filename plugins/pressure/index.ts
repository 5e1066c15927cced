import { getHeapStatistics } from 'node:v8'
import underPressure from '@fastify/under-pressure'
import type { Registry } from '@platformatic/prom-client'
import { type Static, Type } from '@sinclair/typebox'
import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { onEntry } from '../lib/entry.ts'
import { type AppError, errors } from '../lib/errors.ts'
import { counter, gauge } from '../lib/metrics.ts'
import { type PluginInput, parseOptions } from '../lib/options.ts'
import { routeConfig, useRouteConfig } from '../lib/route-config.ts'
import { PressureGauge, type PressureLevel, type PressureReading, type Steps } from './gauge.ts'

const StepsOption = (first: number, second: number, third: number, description: string) =>
  Type.Tuple([Type.Number({ minimum: 0 }), Type.Number({ minimum: 0 }), Type.Number({ minimum: 0 })], {
    default: [first, second, third],
    description
  })

export const PressureOptions = Type.Object(
  {
    eventLoopDelay: StepsOption(
      80,
      160,
      320,
      'Mean lateness of the event loop in milliseconds from which levels 1, 2 and 3 hold. A server that is merely busy stays far below.'
    ),
    minUtilization: Type.Number({
      default: 0.7,
      minimum: 0,
      maximum: 1,
      description: 'Below this share of busy time a late event loop is the fault of the machine, and nothing is shed.'
    }),
    heap: StepsOption(0.85, 0.92, 0.97, 'The same for the heap in use, as shares of what V8 may take.'),
    rss: StepsOption(0.85, 0.92, 0.97, 'The same for resident memory, as shares of memoryLimit.'),
    memoryLimit: Type.Integer({
      default: 0,
      minimum: 0,
      description: 'Bytes of memory that the machine has for this process; 0 does not look at resident memory.'
    }),
    sampleInterval: Type.Integer({ default: 250, minimum: 10, description: 'Milliseconds between two readings.' }),
    riseAfter: Type.Integer({ default: 2, minimum: 1, description: 'Readings in a row before the level rises.' }),
    fallAfter: Type.Integer({ default: 4, minimum: 1, description: 'Readings in a row before the level falls.' }),
    sustainIn: Type.Integer({
      default: 5_000,
      minimum: 0,
      description: 'Milliseconds of pressure after which the instance is no longer ready.'
    }),
    sustainOut: Type.Integer({
      default: 10_000,
      minimum: 0,
      description: 'Milliseconds of calm after which it is ready again.'
    })
  },
  { additionalProperties: false }
)
export type PressureOptions = Static<typeof PressureOptions>

/** Where readings come from; by default `@fastify/under-pressure`. */
export interface PressureSensor {
  sample(): PressureReading
}

export interface PressureDeps {
  registry?: Registry
  sensor?: PressureSensor
}

export interface Pressure {
  /** 0: everyone is served. 1: bulk is refused. 2: normal requests too. 3: all but probes. */
  readonly level: PressureLevel
  /** Pressure that has lasted: the instance should not be sent new requests. */
  readonly sustained: boolean
}

declare module 'fastify' {
  interface FastifyInstance {
    pressure: Pressure
  }
}

/** The level from which a priority is refused. */
const SHED_FROM = { bulk: 1, normal: 2, webhook: 3, operator: 3, probe: Number.POSITIVE_INFINITY } as const

/** Seconds; drawn anew for each refusal, so that those who were refused together do not return together. */
const RETRY_AFTER = [1, 2, 3]

/** Milliseconds; timers of a healthy loop are not as late as that. */
const NOTABLY_LATE = 20

/**
 * Refuses what matters least while the process has too much to do, so that the rest is served in time. When there is no
 * pressure, a request costs one comparison.
 */
const pressure: FastifyPluginAsync<PluginInput<typeof PressureOptions, PressureDeps>> = async (app, input) => {
  const { heap, rss, memoryLimit, sampleInterval, ...limits } = parseOptions('rhone-pressure', PressureOptions, input, [
    'registry',
    'sensor'
  ])
  for (const [key, steps] of Object.entries({ eventLoopDelay: limits.eventLoopDelay, heap, rss }))
    if (steps[0] > steps[1] || steps[1] > steps[2])
      throw new Error(`rhone-pressure: option "${key}": must be ascending, got ${JSON.stringify(steps)}`)

  const meter = new PressureGauge({
    ...limits,
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

  const shed = counter(input.registry, {
    name: 'rhone_shed_total',
    help: 'Requests refused because the process had too much to do.',
    labelNames: ['reason', 'priority']
  })
  gauge(input.registry, {
    name: 'rhone_pressure_level',
    help: 'What is refused: 0 nothing, 1 bulk, 2 normal requests too, 3 all but probes.',
    collect() {
      this.set(meter.level)
    }
  })

  useRouteConfig(app)
  const refusals = RETRY_AFTER.map(seconds => errors.unavailable(seconds)) as [AppError, ...AppError[]]
  onEntry(app, request => {
    if (meter.level === 0) return
    const { priority = 'normal' } = routeConfig(request)
    if (meter.level < SHED_FROM[priority]) return
    shed.inc({ reason: meter.reason, priority })
    return refusals[Math.floor(Math.random() * refusals.length)]
  })

  const sensor = input.sensor ?? (await processSensor())
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

  /** Registered without thresholds, it refuses nothing. Cumulative utilization would forget to rise after idle hours. */
  async function processSensor(): Promise<PressureSensor> {
    await app.register(underPressure, { sampleInterval, eventLoopUtilizationMode: 'interval' })
    let sampledAt = performance.now()
    return {
      sample() {
        const { eventLoopDelay, eventLoopUtilized, heapUsed, rssBytes } = app.memoryUsage()
        const elapsed = performance.now() - sampledAt
        sampledAt += elapsed
        return {
          eventLoopDelay: Number.isFinite(eventLoopDelay) ? eventLoopDelay : delayBehind(elapsed - sampleInterval),
          eventLoopUtilization: eventLoopUtilized,
          heapUsed,
          rss: rssBytes
        }
      }
    }
  }

  /** The histogram is empty when the loop has not turned twice since the last sample; then this sample came late, too. */
  function delayBehind(lateness: number): number {
    return lateness > NOTABLY_LATE ? sampleInterval + lateness : 0
  }
}

function sharesOf(whole: number, [first, second, third]: Steps): Steps {
  return [whole * first, whole * second, whole * third]
}

export default fp(pressure, { name: 'rhone-pressure', fastify: '5.x' })
