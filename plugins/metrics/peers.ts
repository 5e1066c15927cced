import type { Registry } from '@platformatic/prom-client'
import { mergeExpositions, type Rule } from './exposition.ts'

/** The way to the other apps of an instance. Metrics travel as text, which costs less to hand over than objects. */
export interface MetricsPeers {
  /** Is told once how this app is read. */
  serve(read: () => Promise<string>): void
  /**
   * Gives what this app has counted for what all others have. It must not wait long for one that hangs; an older text is
   * better than none, since a total that goes back looks like a restart.
   */
  exchange(own: string): Promise<readonly string[]>
}

/** What only prom-client's own metrics use: they are left out of its sums, though each app has the same value. */
const OMIT = 'omit'

/** @returns reads the metrics of all apps as one instance's */
export function scrapeAll(registry: Registry, peers: MetricsPeers): () => Promise<string> {
  const read = async () => registry.metrics()
  peers.serve(read)
  return async () => {
    const own = await read()
    return mergeExpositions([own, ...(await peers.exchange(own))], name => gaugeRule(registry, name))
  }
}

/** A gauge says by its `aggregator` what becomes of several; without one they are added up. */
export function gaugeRule(registry: Registry, name: string): Rule {
  const { aggregator = 'sum' } = (registry.getSingleMetric(name) ?? {}) as { aggregator?: Rule | typeof OMIT }
  return aggregator === OMIT ? 'first' : aggregator
}
