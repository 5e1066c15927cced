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
export type HistogramMetric<T extends string> = Pick<Histogram<T>, 'observe' | 'labels'>

/*
 * Several plugins may write to one metric, `rhone_dependency_up` for example; whoever comes first makes it. The `collect`
 * of a later one is not used. Without a registry nothing is made, and the metric that is returned does nothing.
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

/** What is counted under one combination of label values. */
export interface Tally {
  add(): void
}

/**
 * A counter for what happens with every request, if need be: it counts in plain numbers, of which the metric learns when
 * it is scraped.
 *
 * @returns finds or makes the count for the values of the labels, in the order of `labelNames`
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

  /** What was added since the last call. */
  take(): number {
    const added = this.#added
    this.#added = 0
    return added
  }
}

/** Whether each of the services that Rhone leans on can be reached. */
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

/** The metric of that name, if the registry has it already. */
function make<M, Config extends { name: string }>(
  registry: Registry,
  config: Config,
  Kind: new (config: Config & { registers: PromRegistry[] }) => M
): M {
  const metric = registry.getSingleMetric(config.name) as Metric | undefined
  if (metric === undefined) return new Kind({ ...config, registers: [registry as PromRegistry] })
  if (metric instanceof Kind) return metric
  throw new Error(`the metric ${config.name} exists already and is of another kind than ${Kind.name}`)
}

const nothing = () => {}
const UNUSED = {
  inc: nothing,
  dec: nothing,
  set: nothing,
  remove: nothing,
  observe: nothing,
  setToCurrentTime: nothing,
  startTimer: () => () => 0,
  labels: () => UNUSED
}
