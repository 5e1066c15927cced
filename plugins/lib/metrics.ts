import {
  Counter,
  type CounterConfiguration,
  Gauge,
  type GaugeConfiguration,
  Histogram,
  type HistogramConfiguration,
  type Metric,
  type Registry
} from '@platformatic/prom-client'

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
  return existing(registry, config.name, Counter<T>) ?? new Counter<T>({ ...config, registers: [registry] })
}

export function gauge<T extends string = never>(
  registry: Registry | undefined,
  config: GaugeConfiguration<T>
): GaugeMetric<T> {
  if (registry === undefined) return UNUSED
  return existing(registry, config.name, Gauge<T>) ?? new Gauge<T>({ ...config, registers: [registry] })
}

export function histogram<T extends string = never>(
  registry: Registry | undefined,
  config: HistogramConfiguration<T>
): HistogramMetric<T> {
  if (registry === undefined) return UNUSED
  return existing(registry, config.name, Histogram<T>) ?? new Histogram<T>({ ...config, registers: [registry] })
}

/** Counts by one label with a closed set of values. */
export interface Tally {
  add(value: string): void
}

/**
 * A counter for what may happen with every request of a flood: it counts in plain numbers, which the metric learns of when
 * it is scraped.
 *
 * @param known values that are shown before they are counted
 */
export function tally(
  registry: Registry | undefined,
  config: { name: string; help: string; label: string; known?: readonly string[] }
): Tally {
  const { name, help, label, known = [] } = config
  const counts = new Map<string, number>(known.map(value => [value, 0]))
  counter<string>(registry, {
    name,
    help,
    labelNames: [label],
    collect() {
      for (const [value, count] of counts) {
        this.inc({ [label]: value }, count)
        counts.set(value, 0)
      }
    }
  })
  return { add: value => counts.set(value, (counts.get(value) ?? 0) + 1) }
}

/** Whether each of the services that Rhone leans on can be reached. */
export function dependencyUp(registry: Registry | undefined): GaugeMetric<'service'> {
  return gauge(registry, {
    name: 'rhone_dependency_up',
    help: 'Whether a service this server depends on was reachable when last used: 1 or 0.',
    labelNames: ['service']
  })
}

function existing<M>(registry: Registry, name: string, Kind: new (...args: never[]) => M): M | undefined {
  const metric: Metric | undefined = registry.getSingleMetric(name)
  if (metric === undefined || metric instanceof Kind) return metric
  throw new Error(`the metric ${name} exists already and is of another kind than ${Kind.name}`)
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
