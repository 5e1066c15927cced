import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TraceIds } from '../../plugins/tracing/ids.ts'

test('ids have the form of W3C Trace Context, and none occurs twice, however they are mixed', () => {
  const ids = new TraceIds()
  const seen = new Set<string>()
  for (let i = 0; i < 1_000; i++) {
    const { traceId, spanId } = ids.trace()
    assert.match(traceId, /^(?!0{32})[0-9a-f]{32}$/)
    const spans = [spanId, ids.span(), ids.span()]
    for (const id of spans) assert.match(id, /^(?!0{16})[0-9a-f]{16}$/)
    const parts = [traceId.slice(0, 16), traceId.slice(16), ...spans]
    for (const [at, part] of parts.entries()) {
      assert.ok(!seen.has(part), part)
      seen.add(part)
      assert.notEqual(part.slice(0, 8), parts[at - 1]?.slice(8), 'they do not overlap')
    }
  }
})

test('fractions are spread evenly', () => {
  const ids = new TraceIds()
  const below = Array.from({ length: 20_000 }, () => ids.fraction()).filter(fraction => fraction < 0.1).length
  assert.ok(below > 1_700 && below < 2_300, `${below} of 20,000 are below 0.1`)
})
