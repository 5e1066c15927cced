/**
 * The registry for a plugin's metrics: `app.metrics.registry` or any other `Registry` of `@platformatic/prom-client`.
 * Without one a plugin creates no metrics, and the package need not be installed.
 */
export interface Registry {
  registerMetric(metric: unknown): void
  getSingleMetric(name: string): unknown
}
