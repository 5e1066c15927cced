import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { type TestContext, test } from 'node:test'
import { Registry } from '@platformatic/prom-client'
import Fastify, { type FastifyRequest } from 'fastify'
import pressure, { type ConcurrencyLimiter } from '../../plugins/pressure/index.ts'
import { eventually } from '../support/eventually.ts'
import { stays } from '../support/stays.ts'

/** So that the state of this very process does not matter. */
const calm = { sample: () => ({ eventLoopDelay: 0, eventLoopUtilization: 0, heapUsed: 0, rss: 0 }) }
const limiter = (limit: number): ConcurrencyLimiter => ({ limit, meter: () => ({ took() {} }) })

/** A server whose handlers answer on demand. */
async function server(t: TestContext, options: object = {}) {
  const started: string[] = []
  const holding: (() => void)[] = []
  const hold = (request: FastifyRequest) => {
    started.push(request.url)
    return new Promise<string>(resolve => holding.push(() => resolve('served')))
  }
  const registry = new Registry()
  const app = Fastify({ forceCloseConnections: true })
  const accepted: Socket[] = []
  app.server.on('connection', socket => accepted.push(socket))
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
  /** Resolves when the server has read it. */
  const send = async (text: string): Promise<Socket> => {
    const socket = connect(port, '127.0.0.1')
    socket.on('error', () => {})
    await once(socket, 'connect')
    socket.write(text)
    const isRead = ({ remotePort, bytesRead }: Socket) =>
      remotePort === socket.localPort && bytesRead >= Buffer.byteLength(text)
    await eventually(() => accepted.some(isRead))
    return socket
  }
  /** Resolves when the server has noticed. */
  const hangUp = async (socket: Socket): Promise<void> => {
    const { localPort } = socket
    const there = accepted.find(({ remotePort }) => remotePort === localPort)!
    socket.destroy()
    await eventually(() => there.destroyed)
  }
  const read = async (pattern: RegExp) => {
    const [, value] = pattern.exec(await registry.metrics()) ?? []
    return value
  }
  const reads = (name: string, priority: string, value: number) =>
    eventually(
      () => read(new RegExp(`^${name}\\{priority="${priority}"\\} (.*)$`, 'm')),
      found => found === String(value)
    )
  const waiting = (count: number) => reads('rhone_admission_waiting', 'normal', count)
  const inFlight = (count: number, priority = 'normal') => reads('rhone_concurrency_in_flight', priority, count)
  /** Resolves when a total number of handlers has started. */
  const begun = (count: number) => eventually(() => started.length === count)
  const release = () => {
    for (const answer of holding.splice(0)) answer()
  }
  return { app, started, release, ask, send, hangUp, read, waiting, inFlight, begun }
}

const get = (path: string) => `GET ${path} HTTP/1.1\r\nhost: a\r\n\r\n`

test('a request waits for admission, and is then served', async t => {
  const { started, release, ask, read, waiting, begun } = await server(t)
  const replies = [ask('/normal'), ask('/normal')]
  await waiting(1)
  assert.deepEqual(started, ['/normal'])
  assert.equal(await read(/^rhone_concurrency_in_flight\{priority="normal"\} (.*)$/m), '1')
  assert.equal(await read(/^rhone_concurrency_limit (.*)$/m), '1')
  release()
  await begun(2)
  release()
  assert.deepEqual(await Promise.all(replies), [200, 200])
  assert.equal(await read(/^rhone_admission_queue_seconds_count\{priority="normal"\} (.*)$/m), '1')
  assert.equal(await read(/^rhone_concurrency_in_flight\{priority="normal"\} (.*)$/m), '0')
})

test('requests beyond the queue are refused, while probes and requests within their share are served', async t => {
  const { app, release, ask, read, begun } = await server(t, { maxWaiting: 0 })
  const served = [ask('/normal')]
  await begun(1)
  const refused = await fetch(`${app.listeningOrigin}/normal`)
  assert.equal(refused.status, 503)
  assert.match(refused.headers.get('retry-after') ?? '', /^[123]$/)
  assert.equal(await ask('/before'), 503, 'routes that were there before are no exception')
  assert.equal(await ask('/probe'), 200)
  assert.equal(await ask('/nowhere'), 404)
  served.push(ask('/operator'))
  await begun(2)
  release()
  assert.deepEqual(await Promise.all(served), [200, 200])
  assert.equal(await read(/^rhone_shed_total\{reason="queue_full",priority="normal"\} (.*)$/m), '2')
})

test('a request that waited too long is refused and never started', async t => {
  const { started, release, ask, read, begun } = await server(t, { maxWait: 40 })
  const first = ask('/normal')
  await begun(1)
  assert.equal(await ask('/normal'), 503)
  assert.deepEqual(started, ['/normal'])
  assert.equal(await read(/^rhone_shed_total\{reason="queue_timeout",priority="normal"\} (.*)$/m), '1')
  release()
  assert.equal(await first, 200)
})

test('a request whose client left while it waited is never started', async t => {
  const { started, release, ask, send, hangUp, read, waiting, begun } = await server(t)
  const first = ask('/normal')
  await begun(1)
  const impatient = await send(get('/normal?impatient'))
  const last = ask('/normal?last')
  await waiting(2)
  await hangUp(impatient)
  await waiting(1)
  release()
  await begun(2)
  release()
  assert.deepEqual(await Promise.all([first, last]), [200, 200])
  assert.deepEqual(started, ['/normal', '/normal?last'])
  assert.equal(await read(/^rhone_shed_total\{reason="client_gone",priority="normal"\} (.*)$/m), '1')
})

test('work keeps its place until it is done, even if its client leaves', async t => {
  const { release, ask, send, hangUp, read, inFlight, begun } = await server(t)
  const client = await send(get('/normal'))
  await begun(1)
  await hangUp(client)
  assert.equal(await read(/^rhone_concurrency_in_flight\{priority="normal"\} (.*)$/m), '1')
  release()
  await inFlight(0)
  const next = ask('/normal')
  await begun(2)
  release()
  assert.equal(await next, 200)
})

test('a client that sends its body slowly takes no slot', async t => {
  const { started, release, ask, send, begun } = await server(t)
  const head = 'POST /body HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n'
  const slow = await Promise.all([send(head), send(head), send(head)])
  const served = ask('/normal')
  await begun(1)
  assert.deepEqual(started, ['/normal'])
  release()
  assert.equal(await served, 200)
  slow[0]!.write('{}')
  await begun(2)
  assert.deepEqual(started, ['/normal', '/body'])
  release()
  for (const socket of slow) socket.destroy()
})

test('a body is not read if there is no room', async t => {
  const { ask, send, release, begun } = await server(t, { maxWaiting: 0 })
  const first = ask('/normal')
  await begun(1)
  const socket = await send(
    'POST /body HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n'
  )
  const reply = socket.read() ?? (await once(socket, 'data'))[0]
  assert.match(String(reply), /^HTTP\/1\.1 503 /)
  socket.destroy()
  release()
  await first
})

test('failed and hijacked replies free their slot', async t => {
  const { ask, inFlight } = await server(t)
  for (const [path, status] of [
    ['/failing', 500],
    ['/raw', 200],
    ['/failing', 500]
  ] as const)
    assert.equal(await ask(path), status)
  await inFlight(0)
})

test('streams have their own limit, and take no slots of others', async t => {
  const { ask, send, hangUp, release, read, inFlight, begun } = await server(t, { maxStreams: 2 })
  const streams = [await send(get('/stream')), await send(get('/stream'))]
  await inFlight(2, 'stream')
  assert.equal(await ask('/stream'), 503)
  assert.equal(await read(/^rhone_shed_total\{reason="streams",priority="normal"\} (.*)$/m), '1')
  const other = ask('/normal')
  await begun(1)
  release()
  assert.equal(await other, 200)

  for (const stream of streams) await hangUp(stream)
  await inFlight(0, 'stream')
  const again = await send(get('/stream'))
  assert.match(String(again.read() ?? (await once(again, 'data'))[0]), /^HTTP\/1\.1 200 /)
  again.destroy()
})

test('refusals are delayed briefly, and dropped if their client leaves', async t => {
  const { app, started, ask, send, hangUp, release, begun } = await server(t, { maxWaiting: 0, refusalDelay: 60 })
  const first = ask('/normal')
  await begun(1)
  const began = performance.now()
  assert.equal((await fetch(`${app.listeningOrigin}/normal`)).status, 503)
  assert.ok(performance.now() - began >= 55)
  await hangUp(await send(get('/normal')))
  await stays(() => started.length === 1, 70)
  release()
  assert.equal(await first, 200)
})

test('invalid shares, limits and waits fail the boot', async () => {
  const boot = async (options: object) => Fastify().register(pressure, options)
  await assert.rejects(boot({ shares: { operator: 2 } }), /rhone-pressure: option "shares.operator"/)
  await assert.rejects(boot({ minConcurrency: 40, maxConcurrency: 10 }), /rhone-pressure: option "minConcurrency"/)
  await assert.rejects(boot({ maxWait: -1 }), /rhone-pressure: option "maxWait"/)
})

test('a probe is answered before all CPU-bound handlers that arrived with it have started', async t => {
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
    let accepted = 0
    app.server.on('connection', () => accepted++)
    await app.listen({ host: '127.0.0.1', port: 0 })
    t.after(() => app.close())
    const { port } = app.server.address() as { port: number }
    const sockets = Array.from({ length: CROWD + 1 }, () => connect(port, '127.0.0.1'))
    await Promise.all(sockets.map(socket => once(socket, 'connect')))
    await eventually(() => accepted === sockets.length)

    const replies = sockets.map(async socket => String((await once(socket, 'data'))[0]))
    for (const [index, socket] of sockets.entries()) socket.write(get(index === CROWD ? '/probe' : '/compute'))
    for (const reply of await Promise.all(replies)) assert.match(reply, /^HTTP\/1\.1 200 /)
    assert.equal(computed, CROWD)
    assert.equal(computedBefore > CROWD / 2, holdsUp, `${computedBefore} of ${CROWD} with a budget of ${turnBudget} ms`)
    for (const socket of sockets) socket.destroy()
  }
})
