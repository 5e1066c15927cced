import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import Fastify from 'fastify'
import { requestTracker } from '../../plugins/lib/request-tracker.ts'

test('a handler that writes after the end of its reply does not end the process', async t => {
  const app = Fastify()
  t.after(() => app.close())
  const ends: [status: number, elapsed: number, now: number][] = []
  requestTracker(app).onEnd((_request, _reply, status, elapsed, now) => ends.push([status, elapsed, now]))
  const { promise: failed, resolve: fail } = Promise.withResolvers<Error>()
  app.get('/', (_request, reply) => {
    reply.hijack()
    reply.raw.end('all')
    reply.raw.write('more', error => fail(error as Error))
  })
  const began = performance.now()
  const { hostname, port } = new URL(await app.listen({ host: '127.0.0.1', port: 0 }))
  const reply = await fetch(`http://${hostname}:${port}`)
  assert.equal(await reply.text(), 'all')
  assert.match(String(await failed), /write after end/)
  await turn() // the event comes after the callback

  const [[status, elapsed, now] = [0, 0, 0]] = ends
  assert.equal(ends.length, 1)
  assert.equal(status, 200)
  assert.ok(elapsed >= 0 && now - elapsed >= began && now <= performance.now(), 'one clock for all')
})
