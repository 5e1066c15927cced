import type {
  Counter,
  CounterConfiguration,
  Gauge,
  GaugeConfiguration,
  Histogram,
  HistogramConfiguration,
  Metric,
  Registry as PromRegistry
} from '@platformatic/prom-client'
import { requirePackage } from './packages.ts'
import type { Registry } from './registry.ts'

export type CounterMetric<T extends string> = Pick<Counter<T>, 'inc' | 'labels'>
export type GaugeMetric<T extends string> = Pick<Gauge<T>, 'set' | 'inc' | 'dec' | 'labels' | 'remove'>
export type HistogramMetric<T extends string> = Pick<Histogram<T>, 'observe' | 'labels' | 'zero'>

/*
 * Several plugins may share a metric, such as `rhone_dependency_up`. The first one creates it; the `collect` of later
 * ones is ignored. Without a registry, no metric is created, and the returned one does nothing.
 */

export function counter<T extends string = never>(
  registry: Registry | undefined,
  config: CounterConfiguration<T>
): CounterMetric<T> {
  if (registry === undefined) return UNUSED
  return make(registry, config, client().Counter<T>)
}

export function gauge<T extends string = never>(
  registry: Registry | undefined,
  config: GaugeConfiguration<T>
): GaugeMetric<T> {
  if (registry === undefined) return UNUSED
  return make(registry, config, client().Gauge<T>)
}

export function histogram<T extends string = never>(
  registry: Registry | undefined,
  config: HistogramConfiguration<T>
): HistogramMetric<T> {
  if (registry === undefined) return UNUSED
  return make(registry, config, client().Histogram<T>)
}

/** The count for one combination of label values. */
export interface Tally {
  add(): void
}

/**
 * A counter cheap enough for every request: it counts in plain numbers, which are added to the metric on each scrape.
 *
 * @returns a function that finds or creates the count for label values, in the order of `labelNames`
 */
export function tallies(
  registry: Registry | undefined,
  { name, help, labelNames }: { name: string; help: string; labelNames: readonly string[] }
): (...values: string[]) => Tally {
  const counts = new Map<string, Count>()
  counter<string>(registry, {
    name,
    help,
    labelNames: [...labelNames],
    collect() {
      for (const count of counts.values()) this.inc(count.labels, count.take())
    }
  })
  return (...values) => {
    const key = values.join('\n')
    let count = counts.get(key)
    if (count === undefined) {
      count = new Count(Object.fromEntries(labelNames.map((label, index) => [label, values[index]!])))
      counts.set(key, count)
    }
    return count
  }
}

class Count implements Tally {
  readonly labels: Record<string, string>
  #added = 0

  constructor(labels: Record<string, string>) {
    this.labels = labels
  }

  add(): void {
    this.#added++
  }

  /** Returns the amount added since the last call. */
  take(): number {
    const added = this.#added
    this.#added = 0
    return added
  }
}

/** Whether each service that Rhone depends on is reachable. */
export function dependencyUp(registry: Registry | undefined): GaugeMetric<'service'> {
  return gauge(registry, {
    name: 'rhone_dependency_up',
    help: 'Whether a service this server depends on was reachable when last used: 1 or 0.',
    labelNames: ['service'],
    aggregator: 'min'
  })
}

const client = () =>
  requirePackage<typeof import('@platformatic/prom-client')>('the option "registry"', '@platformatic/prom-client')

/** Returns the registered metric of that name, or creates it. */
function make<M, Config extends { name: string }>(
  registry: Registry,
  config: Config,
  Kind: new (config: Config & { registers: PromRegistry[] }) => M
): M {
  const metric = registry.getSingleMetric(config.name) as Metric | undefined
  if (metric === undefined) return new Kind({ ...config, registers: [registry as PromRegistry] })
  if (metric instanceof Kind) return metric
  throw new Error(`the metric ${config.name} already exists, but is not a ${Kind.name}`)
}

const nothing = () => {}
const UNUSED = {
  inc: nothing,
  dec: nothing,
  set: nothing,
  remove: nothing,
  observe: nothing,
  zero: nothing,
  setToCurrentTime: nothing,
  startTimer: () => () => 0,
  labels: () => UNUSED
}
