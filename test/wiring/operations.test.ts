import assert from 'node:assert/strict'
import { test } from 'node:test'
import fp from 'fastify-plugin'
import pressure, { type PressureOptions } from '../../plugins/pressure/index.ts'
import { testApp } from '../support/app.ts'
import { eventually } from '../support/eventually.ts'

test('an instance under sustained pressure is not ready, says why, and keeps answering probes', async t => {
  // Whatever the process holds is too much for a machine of one byte.
  const tight = { memoryLimit: 1, riseAfter: 1, sampleInterval: 10, sustainIn: 0 }
  const pressed = fp<Partial<PressureOptions>>((app, options) => app.register(pressure, { ...options, ...tight }))
  const { app, as } = await testApp(t, {}, { pressure: pressed as never })
  await eventually(() => app.pressure.sustained)
  const { statusCode, body } = await as(null, 'GET', '/ready')
  assert.deepEqual([statusCode, JSON.parse(body)], [503, { status: 'not_ready', reasons: ['pressure'] }])
  assert.equal((await as(null, 'GET', '/health')).statusCode, 200)
})
