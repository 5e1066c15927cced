import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isDescriptorShortage } from '../plugins/lib/errno.ts'
import { descriptorLimit, descriptorWarning, keepMemoryReadable, shortageReporter } from '../src/descriptors.ts'

const NEEDS = { maxConnections: 1_000, workers: 2, database: { poolMax: 10 } }
const shortage = Object.assign(new Error('EMFILE: too many open files'), { code: 'EMFILE' })

test('more connections than file descriptors cause a warning with suitable numbers', () => {
  assert.equal(descriptorWarning(NEEDS, 2_210), null)
  assert.equal(descriptorWarning(NEEDS, null), null, 'a system that does not tell')
  assert.match(
    descriptorWarning(NEEDS, 1_024)!,
    /may open 1024 .* its settings need 2210: .*ulimit -n 2210.*MAX_CONNECTIONS to 407/
  )
})

test('the limit is that of this process', { skip: process.platform !== 'linux' && 'only Linux tells' }, () => {
  assert.ok(descriptorLimit()! > 0)
})

test('a lack of descriptors is reported once a second, with a count', t => {
  const now = t.mock.method(performance, 'now', () => 0)
  const lines: number[] = []
  const report = shortageReporter((_error, count) => lines.push(count))
  for (let i = 0; i < 3; i++) report(shortage)
  now.mock.mockImplementation(() => 1_000)
  report(shortage)
  assert.deepEqual(lines, [1, 3])
  assert.ok(isDescriptorShortage(shortage))
  assert.ok(!isDescriptorShortage(new Error('another')))
})

test('memory readings keep their last value while no descriptor is left', t => {
  const original = process.memoryUsage
  t.after(() => {
    process.memoryUsage = original
  })
  let failure: Error | undefined
  const usage = { ...original(), rss: 1 }
  process.memoryUsage = Object.assign(
    () => {
      if (failure) throw failure
      return usage
    },
    { rss: () => 1 }
  )
  keepMemoryReadable()
  failure = shortage
  assert.equal(process.memoryUsage().rss, 1)
  assert.equal(process.memoryUsage.rss(), 1)
  failure = new Error('another')
  assert.throws(() => process.memoryUsage(), failure)
})
