import { setTimeout as delay } from 'node:timers/promises'
import { type Static, Type } from '@sinclair/typebox'
import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { gauge } from './lib/metrics.ts'
import { type PluginInput, parseOptions } from './lib/options.ts'
import type { Registry } from './lib/registry.ts'
import { singleFlight } from './lib/single-flight.ts'

export const GaugesOptions = Type.Object(
  {
    ttl: Type.Integer({
      default: 30_000,
      minimum: 0,
      description: 'Milliseconds for which a reading is cached.'
    }),
    timeout: Type.Integer({
      default: 1_000,
      minimum: 1,
      description: 'Milliseconds for which a scrape waits for a reading.'
    })
  },
  { additionalProperties: false }
)
export type GaugesOptions = Static<typeof GaugesOptions>

export interface Reading {
  readonly name: string
  readonly help: string
  /** Makes it a family of series, one for each value of this label that `read` returns. */
  readonly label?: string
  /** A number; with a label, numbers by its values, which must be a closed set. */
  readonly read: () => Promise<number | ReadonlyMap<string, number>>
}

export interface GaugesDeps {
  registry?: Registry
  readings?: readonly Reading[]
}

/**
 * Facts of the whole platform, read on scrape. Every instance reports the same number: take the max over instances, not
 * the sum. A reading that fails or hangs drops its series from the scrape: an old number would be wrong, and all other
 * metrics are needed most when the database is down.
 */
const gauges: FastifyPluginAsync<PluginInput<typeof GaugesOptions, GaugesDeps>> = async (app, input) => {
  const { ttl, timeout } = parseOptions('rhone-gauges', GaugesOptions, input, ['registry', 'readings'])

  for (const { name, help, label, read } of input.readings ?? []) {
    const latest = singleFlight(ttl, read)
    const shown = new Set<string>()
    let isFailing = false
    const metric = gauge<string>(input.registry, {
      name,
      help,
      aggregator: 'max',
      ...(label !== undefined && { labelNames: [label] }),
      async collect() {
        try {
          show(await Promise.race([latest(), tooLate(timeout)]))
          isFailing = false
        } catch (error) {
          show(new Map())
          // One line per outage, however often it is scraped.
          if (!isFailing) app.log.warn({ err: error, metric: name }, 'a gauge could not be read')
          isFailing = true
        }
      }
    })

    function show(reading: number | ReadonlyMap<string, number>): void {
      if (typeof reading === 'number') metric.set(reading)
      else if (label === undefined) metric.remove()
      else showFamily(label, reading)
    }

    function showFamily(label: string, reading: ReadonlyMap<string, number>): void {
      for (const value of shown) if (!reading.has(value)) metric.remove({ [label]: value })
      for (const [value, number] of reading) metric.set({ [label]: value }, number)
      for (const value of reading.keys()) shown.add(value)
    }
  }
}

async function tooLate(timeout: number): Promise<never> {
  await delay(timeout, undefined, { ref: false })
  throw new Error(`no answer within ${timeout} ms`)
}

export default fp(gauges, { name: 'rhone-gauges', fastify: '5.x' })
