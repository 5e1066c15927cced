import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { Registry } from '@platformatic/prom-client'
import { counter, gauge, histogram } from '../../plugins/lib/metrics.ts'

suite('metrics', () => {
  test('are created once per registry, on first use', async () => {
    const registry = new Registry()
    for (const service of ['a', 'b'])
      gauge(registry, { name: 'up', help: 'Up.', labelNames: ['service'] }).set({ service }, 1)
    counter(registry, { name: 'seen_total', help: 'Seen.' }).inc()
    counter(registry, { name: 'seen_total', help: 'Seen.' }).inc()
    const text = await registry.metrics()
    assert.match(text, /up\{service="a"\} 1\nup\{service="b"\} 1/)
    assert.match(text, /seen_total 2/)
  })

  test('are refused if a metric of another kind has the name', () => {
    const registry = new Registry()
    counter(registry, { name: 'seen', help: 'Seen.' })
    assert.throws(() => gauge(registry, { name: 'seen', help: 'Seen.' }), /the metric seen already exists/)
  })

  test('do nothing without a registry', () => {
    counter(undefined, { name: 'a', help: 'A.', labelNames: ['b'] })
      .labels('c')
      .inc()
    gauge(undefined, { name: 'a', help: 'A.' }).set(1)
    histogram(undefined, { name: 'a', help: 'A.' }).observe(1)
  })
})
