/**
 * Where a plugin's metrics go: `app.metrics.registry`, or any other `Registry` of `@platformatic/prom-client`. Without one
 * a plugin makes no metrics, and the package need not be installed.
 */
export interface Registry {
  registerMetric(metric: unknown): void
  getSingleMetric(name: string): unknown
}
