import type { Registry } from '@platformatic/prom-client'
import { mergeExpositions, type Rule } from './exposition.ts'

/** Access to the other apps of an instance. Metrics travel as text, which is cheaper to hand over than objects. */
export interface MetricsPeers {
  /** Called once, with the function that reads this app's metrics. */
  serve(read: () => Promise<string>): void
  /**
   * Trades this app's metrics for those of all others. Must not wait long for an app that hangs: an older text is
   * better than none, since a total that decreases looks like a restart.
   */
  exchange(own: string): Promise<readonly string[]>
}

/** Set only by prom-client's own metrics, which it leaves out of its sums; each app reports the same value. */
const OMIT = 'omit'

/** @returns a function that reads the metrics of all apps as one instance's */
export function scrapeAll(registry: Registry, peers: MetricsPeers): () => Promise<string> {
  const read = async () => registry.metrics()
  peers.serve(read)
  return async () => {
    const own = await read()
    return mergeExpositions([own, ...(await peers.exchange(own))], name => gaugeRule(registry, name))
  }
}

/** A gauge's `aggregator` says how to combine several; without one they are added up. */
export function gaugeRule(registry: Registry, name: string): Rule {
  const { aggregator = 'sum' } = (registry.getSingleMetric(name) ?? {}) as { aggregator?: Rule | typeof OMIT }
  return aggregator === OMIT ? 'first' : aggregator
}
