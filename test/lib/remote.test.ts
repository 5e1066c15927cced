import assert from 'node:assert/strict'
import { tracingChannel } from 'node:diagnostics_channel'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type TestContext, test } from 'node:test'
import { inspect } from 'node:util'
import { gzipSync } from 'node:zlib'
import { Registry } from '@platformatic/prom-client'
import { Type } from '@sinclair/typebox'
import { createRemote, RemoteError, type RemoteSettings, type RemoteTrace } from '../../plugins/lib/remote.ts'
import { setAhead } from '../support/clock.ts'
import { eventually } from '../support/eventually.ts'

type Handler = (request: IncomingMessage, response: ServerResponse, nth: number) => unknown

/** A service, and a client with short timeouts. */
async function serve(t: TestContext, handle: Handler, settings: Partial<RemoteSettings> = {}) {
  const requests: IncomingMessage[] = []
  const server = createServer((request, response) => {
    requests.push(request)
    handle(request, response, requests.length)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  const baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const remote = createRemote({ service: 'toy', baseUrl, backoff: 1, timeout: 5_000, ...settings })
  return { remote, requests, server, baseUrl }
}

const json = (response: ServerResponse, body: unknown, status = 200, headers = {}) =>
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body))

const failure =
  (kind: string, more: object = {}) =>
  (error: unknown) => {
    assert.ok(error instanceof RemoteError, inspect(error))
    assert.deepEqual({ kind: error.kind, ...more }, { kind, ...pick(error, more) })
    return true
  }
const pick = (error: object, keys: object) =>
  Object.fromEntries(Object.keys(keys).map(key => [key, (error as Record<string, unknown>)[key]]))

const get = { operation: 'get_thing', path: '/thing' } as const
const post = { operation: 'make_thing', method: 'POST', path: '/things' } as const

test('a reply that matches the schema is returned, with its status and headers', async t => {
  const { remote, requests } = await serve(t, (_request, response) => json(response, { id: 7, more: true }), {
    headers: { 'x-version': '1', authorization: 'none' }
  })
  const schema = Type.Object({ id: Type.Integer() })
  const { status, headers, body } = await remote.call({ ...get, schema, headers: { authorization: 'Bearer t' } })
  assert.deepEqual([status, headers.get('content-type'), body.id], [200, 'application/json', 7])
  const sent = requests[0]!.headers
  assert.deepEqual(
    [sent['user-agent'], sent.accept, sent['x-version'], sent.authorization],
    ['rhone', 'application/json', '1', 'Bearer t']
  )
})

test('objects are sent as JSON, forms as forms, text and bytes as they are', async t => {
  const { remote } = await serve(t, async (request, response) => {
    const body = Buffer.concat(await Array.fromAsync(request)).toString()
    json(response, [request.headers['content-type'], body])
  })
  const sent = async (body: object | string, headers = {}) => (await remote.call({ ...post, body, headers })).body
  assert.deepEqual(await sent({ a: 'ü' }), ['application/json', '{"a":"ü"}'])
  assert.deepEqual(await sent(new URLSearchParams({ a: '&' })), ['application/x-www-form-urlencoded', 'a=%26'])
  assert.deepEqual(await sent('text', { 'content-type': 'text/x' }), ['text/x', 'text'])
  assert.deepEqual(await sent(Buffer.from('bytes')), ['application/octet-stream', 'bytes'])
})

test('a reply that does not match the schema is an error that names the place, not the value', async t => {
  const { remote } = await serve(t, (_request, response) => json(response, { id: 'hunter2' }))
  await assert.rejects(remote.call({ ...get, schema: Type.Object({ id: Type.Integer() }) }), error => {
    assert.match(String(error), /toy: get_thing: unexpected reply format \(\/id: expected integer\)/)
    assert.doesNotMatch(inspect(error), /hunter2/)
    return failure('shape')(error)
  })
})

test('an expected status is an answer, any other an error', async t => {
  const { remote } = await serve(t, (request, response) => {
    if (request.url === '/empty') response.writeHead(204).end()
    else json(response, { message: 'gone' }, 404)
  })
  assert.deepEqual(await remote.call({ ...get, path: '/empty' }).then(({ body }) => body), undefined)
  const other = await remote.call({ ...get, accept: [404] })
  assert.deepEqual([other.ok, other.status, other.body], [false, 404, { message: 'gone' }])
  await assert.rejects(remote.call(get), failure('status', { status: 404, isOutage: false }))
})

test('a redirect is not followed', async t => {
  const { remote, requests } = await serve(t, (_request, response) =>
    response.writeHead(302, { location: '/elsewhere' }).end()
  )
  await assert.rejects(remote.call(get), failure('status', { status: 302 }))
  assert.equal(requests.length, 1)
})

test('no error contains sent data: no token, body or query', async t => {
  const { remote, server } = await serve(t, (_request, response) => json(response, { secret: 'hunter2' }, 400))
  const request = { ...post, path: '/things?code=hunter2', body: { password: 'hunter2' } }
  const told: string[] = []
  const note = (error: unknown) => void told.push(inspect(error, { depth: 9, showHidden: true }))
  await remote.call({ ...request, headers: { authorization: 'Bearer hunter2' } }).catch(note)
  await remote.call({ ...request, headers: { authorization: 'Bearer hunter2\nx' } }).catch(note)
  server.closeAllConnections()
  server.close()
  await remote.call({ ...request, headers: { authorization: 'Bearer hunter2' } }).catch(note)
  assert.equal(told.length, 3)
  for (const text of told) assert.doesNotMatch(text, /hunter2/)
})

test('a service that hangs, even during its reply, costs no more than the timeout', async t => {
  const { remote } = await serve(
    t,
    (request, response) => {
      if (request.url === '/half') response.writeHead(200).write('{"a":')
    },
    { timeout: 80, retries: 0 }
  )
  await assert.rejects(remote.call(get), failure('timeout', { isOutage: true }))
  await assert.rejects(remote.call({ ...get, path: '/half' }), failure('timeout'))
})

test('an endless reply is aborted, and so is one that decompresses to too much', async t => {
  const { remote } = await serve(
    t,
    (request, response) => {
      if (request.url === '/packed') {
        response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync('0'.repeat(1_000_000)))
        return
      }
      const timer = setInterval(() => response.write('x'.repeat(1_000)), 1)
      response.on('close', () => clearInterval(timer))
    },
    { maxBytes: 10_000 }
  )
  for (const path of ['/endless', '/packed']) await assert.rejects(remote.call({ ...get, path }), failure('shape'))
})

test('an idempotent request is retried until it succeeds', async t => {
  const { remote, requests } = await serve(t, (request, response, nth) => {
    if (nth === 1) request.socket.destroy()
    else json(response, { nth }, nth === 2 ? 503 : 200)
  })
  assert.deepEqual((await remote.call(get)).body, { nth: 3 })
  assert.equal(requests.length, 3)
})

test('a request that is not idempotent is not retried, unless its caller allows it', async t => {
  const { remote, requests } = await serve(t, (_request, response, nth) => json(response, {}, nth % 2 ? 503 : 200))
  await assert.rejects(remote.call(post), failure('status', { status: 503 }))
  assert.equal(requests.length, 1)
  await remote.call(get)
  await remote.call({ ...post, idempotent: true })
  assert.equal(requests.length, 4)
})

test('neither a refusal nor a server error is retried', async t => {
  for (const status of [400, 401, 403, 404, 409, 422, 500]) {
    const { remote, requests } = await serve(t, (_request, response) => json(response, {}, status))
    await assert.rejects(remote.call(get), failure('status', { status }))
    assert.equal(requests.length, 1, `${status}`)
  }
})

test('a Retry-After is honoured, and a caller fails at once if it is beyond the deadline', async t => {
  const { remote } = await serve(t, (_request, response, nth) =>
    nth === 1 ? json(response, {}, 429, { 'retry-after': '1' }) : json(response, {})
  )
  const start = performance.now()
  await remote.call(get)
  assert.ok(performance.now() - start >= 990)

  const later = await serve(t, (_request, response) => json(response, {}, 503, { 'retry-after': '600' }))
  await assert.rejects(later.remote.call(get), failure('status', { status: 503, retryAfter: 600 }))
  assert.equal(later.requests.length, 1)

  const date = new Date(Date.now() + 3_600_000).toUTCString()
  const dated = await serve(t, (_request, response) => json(response, {}, 429, { 'retry-after': date }))
  await assert.rejects(dated.remote.call(get), error => {
    assert.ok(Math.abs((error as RemoteError).retryAfter! - 3_600) < 10)
    return true
  })
})

test('a call ends at its deadline, with all its attempts', async t => {
  const { remote, requests } = await serve(t, () => {}, { timeout: 60, deadline: 200, retries: 50 })
  await assert.rejects(remote.call(get), failure('timeout'))
  assert.ok(requests.length <= 4, `${requests.length} attempts of 60 ms each in 200 ms`)
})

test('retries do not multiply an outage: one call in ten may retry', async t => {
  const { remote, requests } = await serve(t, (_request, response) => json(response, {}, 503), {
    breaker: { failures: 1_000 }
  })
  for (let i = 0; i < 100; i++) await remote.call(get).catch(() => {})
  assert.ok(requests.length <= 122, `${requests.length} requests for 100 calls`)
})

test('a failing service is not called, probed once after a pause, and used again when the probe succeeds', async t => {
  let isDown = true
  const registry = new Registry()
  const { remote, requests } = await serve(t, (_request, response) => json(response, {}, isDown ? 500 : 200), {
    registry,
    breaker: { failures: 3, pause: 100 }
  })
  const gauge = async () => /rhone_dependency_circuit_open\{service="toy"\} (\d)/.exec(await registry.metrics())![1]
  assert.equal(await gauge(), '0')
  for (let i = 0; i < 3; i++) await assert.rejects(remote.call(get), failure('status'))
  assert.equal(await gauge(), '1')
  await assert.rejects(remote.call(get), failure('refused', { isOutage: false }))
  assert.equal(requests.length, 3)

  setAhead(t, performance, 120)
  const tries = await Promise.allSettled([remote.call(get), remote.call(get), remote.call(get)])
  assert.deepEqual(
    tries.map(({ status, reason }: { status: string; reason?: RemoteError }) => reason?.kind ?? status),
    ['status', 'refused', 'refused']
  )
  assert.equal(requests.length, 4)

  isDown = false
  setAhead(t, performance, 120)
  await assert.rejects(remote.call(get), failure('refused'), 'after a try that failed, the pause is longer')
  setAhead(t, performance, 120)
  await remote.call(get)
  await remote.call(get)
  assert.equal(await gauge(), '0')
})

test('refusals and aborted calls do not count as failures of the service', async t => {
  const { remote } = await serve(t, (request, response) => request.url === '/thing' && json(response, {}, 404), {
    breaker: { failures: 3 }
  })
  for (let i = 0; i < 5; i++) await assert.rejects(remote.call(get), failure('status', { status: 404 }))
  for (let i = 0; i < 5; i++)
    await assert.rejects(remote.call({ ...get, path: '/hang', signal: AbortSignal.timeout(10) }), {
      name: 'TimeoutError'
    })
  await assert.rejects(remote.call(get), failure('status', { status: 404 }))
})

test('a probe that its caller aborts does not close the circuit', async t => {
  const caller = new AbortController()
  const { remote, requests } = await serve(
    t,
    (request, response) => {
      if (request.url === '/thing') json(response, {}, 500)
      else caller.abort()
    },
    { breaker: { failures: 1, pause: 50 } }
  )
  await assert.rejects(remote.call(get), failure('status'))
  setAhead(t, performance, 60)
  const tried = remote.call({ ...get, path: '/hang', signal: caller.signal })
  await assert.rejects(tried, { name: 'AbortError' })
  await assert.rejects(remote.call(get), failure('refused'))
  assert.equal(requests.length, 2)
})

test('a caller can abort a call before it starts, during an attempt, and between two attempts', async t => {
  const reason = new Error('the job was cancelled')
  let refusals = 0
  const { remote, requests } = await serve(t, (request, response) => {
    response.on('finish', () => refusals++)
    if (request.url === '/busy') json(response, {}, 503, { 'retry-after': '5' })
  })
  await assert.rejects(remote.call({ ...get, signal: AbortSignal.abort(reason) }), reason)
  assert.equal(requests.length, 0)
  for (const [path, isReached] of [
    ['/hang', () => requests.length === 1],
    ['/busy', () => refusals === 1]
  ] as const) {
    const controller = new AbortController()
    const ended = assert.rejects(remote.call({ ...get, path, signal: controller.signal }), reason)
    await eventually(isReached)
    controller.abort(reason)
    await ended
  }
})

test('calls leave no listeners on a signal that outlives them', async t => {
  const { remote } = await serve(t, (_request, response) => json(response, {}))
  const { signal } = new AbortController()
  let listeners = 0
  const { addEventListener, removeEventListener } = signal
  signal.addEventListener = (...args: Parameters<typeof addEventListener>) => {
    if (args[2] !== undefined) listeners++
    addEventListener.apply(signal, args)
  }
  signal.removeEventListener = (...args: Parameters<typeof removeEventListener>) => {
    listeners--
    removeEventListener.apply(signal, args)
  }
  for (let i = 0; i < 5; i++) await remote.call({ ...get, signal })
  assert.equal(listeners, 0)
})

test('a stream may last longer than a call, until its caller stops reading', async t => {
  let isClosed = false
  const { remote } = await serve(
    t,
    (request, response) => {
      if (request.url === '/hang') return
      response.writeHead(200, { 'content-type': 'application/x-ndjson' })
      const timer = setInterval(() => response.write('{"line":1}\n'), 200)
      response.on('close', () => {
        clearInterval(timer)
        isClosed = true
      })
    },
    { timeout: 1_000, retries: 0 }
  )
  const { body } = await remote.stream(get)
  let lines = 0
  for await (const chunk of body) {
    lines += Buffer.from(chunk).toString().split('\n').length - 1
    if (lines >= 6) break
  }
  await eventually(() => isClosed)
  await assert.rejects(remote.stream({ ...get, path: '/hang' }), failure('timeout'))
})

test('an interrupted stream is an error, and one aborted by its caller ends with the reason', async t => {
  const { remote, requests } = await serve(t, (_request, response) => response.writeHead(200).write('one'))
  const read = async (onChunk: () => void, signal?: AbortSignal) => {
    const { body } = await remote.stream({ ...get, signal })
    for await (const _ of body) onChunk()
  }
  await assert.rejects(
    read(() => requests[0]!.socket.destroy()),
    failure('network')
  )
  const reason = new Error('enough')
  const controller = new AbortController()
  await assert.rejects(
    read(() => controller.abort(reason), controller.signal),
    reason
  )
})

test('every attempt is measured with its outcome', async t => {
  const registry = new Registry()
  const { remote } = await serve(t, (_request, response, nth) => json(response, {}, nth === 1 ? 503 : 200), {
    registry
  })
  await remote.call(get)
  const text = await registry.metrics()
  for (const outcome of ['status', 'success'])
    assert.match(text, new RegExp(`_seconds_count\\{service="toy",operation="get_thing",outcome="${outcome}"\\} 1`))
})

test('a tracer sees every attempt, and can add its own headers', async t => {
  const { remote, requests } = await serve(t, (_request, response, nth) => json(response, {}, nth === 1 ? 503 : 200))
  const heard: (number | undefined)[][] = []
  const subscribers = {
    start(message: unknown) {
      ;(message as RemoteTrace).headers.traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
    },
    asyncEnd(message: unknown) {
      const { attempt, status } = message as RemoteTrace
      heard.push([attempt, status])
    }
  }
  const channel = tracingChannel('rhone.remote')
  channel.subscribe(subscribers as never)
  t.after(() => channel.unsubscribe(subscribers as never))
  await remote.call(get)
  assert.deepEqual(heard, [
    [1, 503],
    [2, 200]
  ])
  assert.match(String(requests[0]!.headers.traceparent), /^00-0af7/)
})
