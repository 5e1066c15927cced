import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { Registry } from '@platformatic/prom-client'
import fc from 'fast-check'
import Fastify from 'fastify'
import drain from '../../plugins/drain.ts'
import { encode } from '../../plugins/event-streams/encode.ts'
import eventStreams, { type EventSource } from '../../plugins/event-streams/index.ts'
import { errors } from '../../plugins/lib/errors.ts'
import { EventReader } from '../support/event-reader.ts'
import { eventually } from '../support/eventually.ts'
import { stays } from '../support/stays.ts'

interface Setup {
  options?: object
  guard?: () => Promise<unknown>
  drain?: boolean
}

async function serve(t: TestContext, source: EventSource, { options = {}, guard, drain: hasDrain }: Setup = {}) {
  const registry = new Registry()
  const app = Fastify()
  if (hasDrain) await app.register(drain)
  await app.register(eventStreams, { registry, ...options })
  app.get('/events', { config: { slo: 'stream' } }, (request, reply) =>
    app.eventStreams.answer(request, reply.header('x-mine', 'kept'), source, guard)
  )
  t.after(() => app.close())
  const origin = await app.listen({ host: '127.0.0.1', port: 0 })
  const readers: EventReader[] = []
  t.after(() => readers.forEach(reader => void reader.close()))
  const open = async (headers: Record<string, string> = {}) => {
    const reader = await EventReader.open(`${origin}/events`, headers)
    readers.push(reader)
    return reader
  }
  return { app, origin, open, registry }
}

/** Sends nothing until its reader has left. */
const silence: EventSource = (_sink, signal) =>
  new Promise(done => signal.addEventListener('abort', () => done(), { once: true }))

test('a reader gets the events of a source, in order, and the stream ends with the source', async t => {
  const { open } = await serve(t, async sink => {
    await sink.send({ id: 1, event: 'greeting', data: 'hello' })
    await sink.send({ id: 2, data: { list: [1, 2] } })
  })
  const reader = await open()
  await reader.end()
  assert.equal(reader.status, 200)
  assert.equal(reader.headers['content-type'], 'text/event-stream; charset=utf-8')
  assert.equal(reader.headers['cache-control'], 'no-store')
  assert.equal(reader.headers['x-accel-buffering'], 'no')
  assert.equal(reader.headers['x-mine'], 'kept')
  assert.match(reader.text, /^retry: 5000\n\n/)
  assert.equal(reader.isComplete, true)
  assert.deepEqual(reader.events, [
    { id: '1', event: 'greeting', data: 'hello' },
    { id: '2', event: 'message', data: '{"list":[1,2]}' }
  ])
})

test('foreign text cannot start a field or end an event', () => {
  const breaks = fc.constantFrom('\n', '\r', '\r\n', '\n\n', 'data: x', 'id: 9', 'event: admin', '\u2028', '<b>', '\0')
  const hostile = fc.array(fc.oneof(breaks, fc.string({ unit: 'grapheme' }))).map(parts => parts.join(''))
  fc.assert(
    fc.property(hostile, hostile, hostile, (id, event, data) => {
      const text = encode({ id, event, data })
      const lines = text.slice(0, -2).split(/\r\n|\r|\n/)
      assert.ok(text.endsWith('\n\n'))
      assert.equal(lines.filter(line => line.startsWith('id: ')).length, 1)
      assert.equal(lines.filter(line => line.startsWith('event: ')).length, 1)
      const told = lines.slice(2).map(line => line.replace(/^data: /, ''))
      assert.ok(lines.slice(2).every(line => line.startsWith('data: ')))
      assert.equal(told.join('\n'), data.replaceAll(/\r\n|\r/g, '\n'))
    })
  )
})

test('HEAD gets the headers and starts no stream', async t => {
  let begun = 0
  const { app, origin } = await serve(t, async () => void begun++)
  const response = await fetch(`${origin}/events`, { method: 'HEAD' })
  assert.equal(response.status, 200)
  assert.equal(response.headers.get('content-type'), 'text/event-stream; charset=utf-8')
  assert.deepEqual([begun, app.eventStreams.open], [0, 0])
})

test('a quiet stream sends heartbeats', async t => {
  const { open } = await serve(t, silence, { options: { heartbeat: 20 } })
  const reader = await open()
  await eventually(
    () => reader.text,
    text => text.split('\n').filter(line => line === ':').length >= 3
  )
  assert.deepEqual(reader.events, [])
})

test('a source is notified when its reader leaves, and its place is freed', async t => {
  const { promise: told, resolve: tell } = Promise.withResolvers<void>()
  const { app, open } = await serve(t, async (sink, signal) => {
    await silence(sink, signal)
    tell()
  })
  const reader = await open()
  assert.equal(app.eventStreams.open, 1)
  reader.close()
  await told
  await eventually(
    () => app.eventStreams.open,
    count => count === 0
  )
})

test('a slow reader is told how much it missed, which is not stored', async t => {
  const big = 'x'.repeat(10_000)
  const { promise: flooded, resolve: flood } = Promise.withResolvers<void>()
  const { open, registry } = await serve(t, async (sink, signal) => {
    for (let id = 1; id <= 3_000; id++) {
      sink.offer({ id, data: big })
      if (id % 20 === 0) await turn()
    }
    flood()
    await silence(sink, signal)
  })
  const reader = await open()
  reader.pause()
  await flooded
  reader.resume()
  const { data } = await reader.named('dropped')
  const { count } = JSON.parse(data)
  const seen = reader.events.filter(({ event }) => event === 'message')
  assert.ok(count > 0, data)
  assert.equal(seen.length + count, 3_000, 'each event was either seen or counted')
  assert.match(await registry.metrics(), new RegExp(`rhone_event_streams_dropped_total ${count}\\b`))
})

test('a fast reader misses nothing, however much is sent', async t => {
  const { open } = await serve(t, async sink => {
    for (let id = 1; id <= 5_000; id++) {
      sink.offer({ id, data: 'line '.repeat(20) })
      if (id % 50 === 0) await turn()
    }
  })
  const reader = await open()
  await reader.end()
  assert.equal(reader.events.filter(({ event }) => event === 'message').length, 5_000)
})

test('a source of essential events waits for the reader, in bounded memory', async t => {
  let sent = 0
  const { open } = await serve(t, async sink => {
    for (let id = 1; id <= 2_000; id++) {
      await sink.send({ id, data: 'x'.repeat(10_000) })
      sent = id
    }
  })
  const reader = await open()
  reader.pause()
  await stays(() => sent < 2_000, 200)
  reader.resume()
  await reader.end()
  assert.equal(reader.events.length, 2_000)
})

test('a stalled reader is disconnected', async t => {
  const { app, open } = await serve(
    t,
    async (sink, signal) => {
      while (!signal.aborted) await sink.send({ data: 'x'.repeat(100_000) })
    },
    { options: { stallTimeout: 100 } }
  )
  const reader = await open()
  reader.pause()
  await eventually(
    () => app.eventStreams.open,
    count => count === 0
  )
})

test('the number of streams per user is limited, without affecting others', async t => {
  const owner = (request: { headers: Record<string, unknown> }) => String(request.headers['x-user'])
  const { open } = await serve(t, silence, { options: { owner, maxPerOwner: 2 } })
  const [first] = [await open({ 'x-user': 'a' }), await open({ 'x-user': 'a' })]
  const refused = await open({ 'x-user': 'a' })
  assert.equal(refused.status, 429)
  assert.equal(refused.headers['retry-after'], '5')
  assert.equal((await open({ 'x-user': 'b' })).status, 200)
  first.close()
  await eventually(
    async () => (await open({ 'x-user': 'a' })).status,
    status => status === 200
  )
})

test('the total number of streams is limited', async t => {
  const { open } = await serve(t, silence, { options: { max: 1 } })
  assert.equal((await open()).status, 200)
  assert.equal((await open()).status, 503)
})

test('a reader who loses access is disconnected, unlike one whose check failed', async t => {
  let error: Error | undefined
  const guard = async () => {
    if (error) throw error
  }
  const { open, registry } = await serve(t, silence, { options: { recheckInterval: 20 }, guard })
  const [revoked] = [await open()]
  error = errors.notFound('app')
  await revoked.end()
  assert.equal(revoked.isComplete, false)
  error = undefined
  const unlucky = await open()
  error = new Error('no database')
  await unlucky.end()
  const metrics = await registry.metrics()
  assert.match(metrics, /ended_total\{reason="forbidden"\} 1/)
  assert.match(metrics, /ended_total\{reason="failed"\} 1/)
})

test('a failing source disconnects its reader, so that it reconnects', async t => {
  const { open } = await serve(t, async sink => {
    await sink.send({ id: 7, data: 'x' })
    await turn()
    throw new Error('broken')
  })
  const reader = await open()
  await reader.end()
  assert.equal(reader.isComplete, false)
})

for (const hasDrain of [true, false])
  test(`closing ${hasDrain ? 'with' : 'without'} a drain ends the streams first, with a farewell`, async t => {
    const { app, open } = await serve(t, silence, { drain: hasDrain })
    const readers = [await open(), await open()]
    if (hasDrain) await app.drain.start()
    await app.close()
    for (const reader of readers) {
      await reader.end()
      assert.equal(reader.isComplete, true)
      assert.deepEqual(reader.events.at(-1), { id: '', event: 'disconnected', data: '{"reason":"shutdown"}' })
      const delays = [...reader.text.matchAll(/^retry: (\d+)$/gm)].map(([, milliseconds]) => Number(milliseconds))
      assert.ok(delays.length === 2 && delays[1]! >= 1_000 && delays[1]! <= 5_000, String(delays))
    }
  })

test('a wrong option fails the boot', async () => {
  await assert.rejects(async () => Fastify().register(eventStreams, { buffer: 0 }), /rhone-event-streams.*buffer/)
})
