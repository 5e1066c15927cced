import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { type TestContext, test } from 'node:test'
import { Registry } from '@platformatic/prom-client'
import Fastify, { type FastifyRequest } from 'fastify'
import pressure, { type ConcurrencyLimiter } from '../../plugins/pressure/index.ts'

/** So that the state of this very process does not matter. */
const calm = { sample: () => ({ eventLoopDelay: 0, eventLoopUtilization: 0, heapUsed: 0, rss: 0 }) }
const limiter = (limit: number): ConcurrencyLimiter => ({ limit, meter: () => ({ took() {} }) })

/** Turns of the loop that clients and server share, not a time: a busy machine takes longer over them. */
const turn = async (times = 25) => {
  for (let count = 0; count < times; count++) await new Promise(resolve => setTimeout(resolve, 2))
}

/** A server whose handlers answer when they are told to. */
async function server(t: TestContext, options: object = {}) {
  const started: string[] = []
  const holding: (() => void)[] = []
  const hold = (request: FastifyRequest) => {
    started.push(request.url)
    return new Promise<string>(resolve => holding.push(() => resolve('served')))
  }
  const registry = new Registry()
  const app = Fastify({ forceCloseConnections: true })
  app.get('/before', hold)
  await app.register(pressure, {
    ...{ registry, sensor: calm, limiter: limiter(1), refusalDelay: 1, maxWait: 60_000 },
    ...options
  })
  app.get('/normal', hold)
  app.post('/body', hold)
  app.get('/operator', { config: { priority: 'operator' } }, hold)
  app.get('/probe', { config: { priority: 'probe' } }, async () => 'alive')
  app.get('/failing', async () => {
    throw new Error('failed')
  })
  app.get('/stream', { config: { slo: 'stream' } as object }, (_request, reply) => {
    reply.hijack().raw.writeHead(200).write('begun')
  })
  app.get('/raw', (_request, reply) => {
    reply.hijack().raw.end('raw')
  })
  await app.listen({ host: '127.0.0.1', port: 0 })
  t.after(() => app.close())
  const port = (app.server.address() as { port: number }).port

  const ask = async (path: string) => (await fetch(`http://127.0.0.1:${port}${path}`)).status
  const send = async (text: string): Promise<Socket> => {
    const socket = connect(port, '127.0.0.1')
    socket.on('error', () => {})
    await once(socket, 'connect')
    socket.write(text)
    await turn()
    return socket
  }
  const read = async (pattern: RegExp) => {
    const [, value] = pattern.exec(await registry.metrics()) ?? []
    return value
  }
  const release = () => {
    for (const answer of holding.splice(0)) answer()
  }
  return { app, started, release, ask, send, read }
}

const get = (path: string) => `GET ${path} HTTP/1.1\r\nhost: a\r\n\r\n`

test('a request waits for its turn, and is served then', async t => {
  const { started, release, ask, read } = await server(t)
  const replies = [ask('/normal'), ask('/normal')]
  await turn()
  assert.deepEqual(started, ['/normal'])
  assert.equal(await read(/^rhone_concurrency_in_flight\{priority="normal"\} (.*)$/m), '1')
  assert.equal(await read(/^rhone_admission_waiting\{priority="normal"\} (.*)$/m), '1')
  assert.equal(await read(/^rhone_concurrency_limit (.*)$/m), '1')
  release()
  await turn()
  release()
  assert.deepEqual(await Promise.all(replies), [200, 200])
  assert.equal(await read(/^rhone_admission_queue_seconds_count\{priority="normal"\} (.*)$/m), '1')
  assert.equal(await read(/^rhone_concurrency_in_flight\{priority="normal"\} (.*)$/m), '0')
})

test('what finds no room in line is refused, probes and what is within its share are served', async t => {
  const { app, release, ask, read } = await server(t, { maxWaiting: 0 })
  const served = [ask('/normal')]
  await turn()
  const refused = await fetch(`${app.listeningOrigin}/normal`)
  assert.equal(refused.status, 503)
  assert.match(refused.headers.get('retry-after') ?? '', /^[123]$/)
  assert.equal(await ask('/before'), 503, 'routes that were there before are no exception')
  assert.equal(await ask('/probe'), 200)
  assert.equal(await ask('/nowhere'), 404)
  served.push(ask('/operator'))
  await turn()
  release()
  assert.deepEqual(await Promise.all(served), [200, 200])
  assert.equal(await read(/^rhone_shed_total\{reason="queue_full",priority="normal"\} (.*)$/m), '2')
})

test('what has waited too long is refused and never started', async t => {
  const { started, release, ask, read } = await server(t, { maxWait: 40 })
  const first = ask('/normal')
  await turn()
  assert.equal(await ask('/normal'), 503)
  assert.deepEqual(started, ['/normal'])
  assert.equal(await read(/^rhone_shed_total\{reason="queue_timeout",priority="normal"\} (.*)$/m), '1')
  release()
  assert.equal(await first, 200)
})

test('a request whose client left while it waited is never started', async t => {
  const { started, release, ask, send, read } = await server(t)
  const first = ask('/normal')
  await turn()
  const impatient = await send(get('/normal?impatient'))
  const last = ask('/normal?last')
  await turn()
  impatient.destroy()
  await turn()
  release()
  await turn()
  release()
  assert.deepEqual(await Promise.all([first, last]), [200, 200])
  assert.deepEqual(started, ['/normal', '/normal?last'])
  assert.equal(await read(/^rhone_shed_total\{reason="client_gone",priority="normal"\} (.*)$/m), '1')
})

test('work goes on in its place when its client leaves, until it is done', async t => {
  const { release, ask, send, read } = await server(t)
  const client = await send(get('/normal'))
  client.destroy()
  await turn()
  assert.equal(await read(/^rhone_concurrency_in_flight\{priority="normal"\} (.*)$/m), '1')
  release()
  await turn()
  assert.equal(await read(/^rhone_concurrency_in_flight\{priority="normal"\} (.*)$/m), '0')
  const next = ask('/normal')
  await turn()
  release()
  assert.equal(await next, 200)
})

test('who sends a body slowly takes nobody’s place', async t => {
  const { started, release, ask, send } = await server(t)
  const head = 'POST /body HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n'
  const slow = await Promise.all([send(head), send(head), send(head)])
  const served = ask('/normal')
  await turn()
  assert.deepEqual(started, ['/normal'])
  release()
  assert.equal(await served, 200)
  slow[0]!.write('{}')
  await turn()
  assert.deepEqual(started, ['/normal', '/body'])
  release()
  for (const socket of slow) socket.destroy()
})

test('a body is not even read when there is no room', async t => {
  const { ask, send, release } = await server(t, { maxWaiting: 0 })
  const first = ask('/normal')
  await turn()
  const socket = await send(
    'POST /body HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n'
  )
  const reply = socket.read() ?? (await once(socket, 'data'))[0]
  assert.match(String(reply), /^HTTP\/1\.1 503 /)
  socket.destroy()
  release()
  await first
})

test('failed and hijacked replies give their place back', async t => {
  const { ask, read } = await server(t)
  for (const [path, status] of [
    ['/failing', 500],
    ['/raw', 200],
    ['/failing', 500]
  ] as const)
    assert.equal(await ask(path), status)
  await turn()
  assert.equal(await read(/^rhone_concurrency_in_flight\{priority="normal"\} (.*)$/m), '0')
})

test('streams have a bound of their own, and take no place of others', async t => {
  const { ask, send, release, read } = await server(t, { maxStreams: 2 })
  const streams = [await send(get('/stream')), await send(get('/stream'))]
  assert.equal(await read(/^rhone_concurrency_in_flight\{priority="stream"\} (.*)$/m), '2')
  assert.equal(await ask('/stream'), 503)
  assert.equal(await read(/^rhone_shed_total\{reason="streams",priority="normal"\} (.*)$/m), '1')
  const other = ask('/normal')
  await turn()
  release()
  assert.equal(await other, 200)

  for (const stream of streams) stream.destroy()
  await turn()
  assert.equal(await read(/^rhone_concurrency_in_flight\{priority="stream"\} (.*)$/m), '0')
  const again = await send(get('/stream'))
  assert.match(String(again.read()), /begun/)
  again.destroy()
})

test('refusals are kept back for a moment, and given up when their client leaves', async t => {
  const { app, ask, send, release } = await server(t, { maxWaiting: 0, refusalDelay: 60 })
  const first = ask('/normal')
  await turn()
  const began = performance.now()
  assert.equal((await fetch(`${app.listeningOrigin}/normal`)).status, 503)
  assert.ok(performance.now() - began >= 55)
  const impatient = await send(get('/normal'))
  impatient.destroy()
  await turn(60)
  release()
  assert.equal(await first, 200)
})

test('shares, limits and waits that make no sense fail the boot', async () => {
  const boot = async (options: object) => Fastify().register(pressure, options)
  await assert.rejects(boot({ shares: { operator: 2 } }), /rhone-pressure: option "shares.operator"/)
  await assert.rejects(boot({ minConcurrency: 40, maxConcurrency: 10 }), /rhone-pressure: option "minConcurrency"/)
  await assert.rejects(boot({ maxWait: -1 }), /rhone-pressure: option "maxWait"/)
})

test('handlers that compute are not all started before a probe that came with them is answered', async t => {
  const CROWD = 20
  for (const [turnBudget, holdsUp] of [
    [1, false],
    [60_000, true]
  ] as const) {
    const app = Fastify({ forceCloseConnections: true })
    await app.register(pressure, { sensor: calm, limiter: limiter(1_000), maxWait: 60_000, turnBudget })
    let computed = 0
    let computedBefore = Number.POSITIVE_INFINITY
    app.get('/compute', async () => {
      for (const until = performance.now() + 5; performance.now() < until; );
      computed++
      return 'served'
    })
    app.get('/probe', { config: { priority: 'probe' } }, async () => {
      computedBefore = computed
      return 'alive'
    })
    await app.listen({ host: '127.0.0.1', port: 0 })
    t.after(() => app.close())
    const { port } = app.server.address() as { port: number }
    const sockets = Array.from({ length: CROWD + 1 }, () => connect(port, '127.0.0.1'))
    await Promise.all(sockets.map(socket => once(socket, 'connect')))
    await turn()

    const replies = sockets.map(async socket => String((await once(socket, 'data'))[0]))
    for (const [index, socket] of sockets.entries()) socket.write(get(index === CROWD ? '/probe' : '/compute'))
    for (const reply of await Promise.all(replies)) assert.match(reply, /^HTTP\/1\.1 200 /)
    assert.equal(computed, CROWD)
    assert.equal(computedBefore > CROWD / 2, holdsUp, `${computedBefore} of ${CROWD} with a budget of ${turnBudget} ms`)
    for (const socket of sockets) socket.destroy()
  }
})
