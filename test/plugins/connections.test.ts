import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { type TestContext, test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { connect as connectTls } from 'node:tls'
import { Registry } from '@platformatic/prom-client'
import Fastify, { type FastifyInstance } from 'fastify'
import connections, { type ConnectionsDeps, type ConnectionsOptions } from '../../plugins/connections/index.ts'
import errors from '../../plugins/errors/index.ts'
import { certificate, needsOpenssl } from '../support/certificate.ts'
import { eventually } from '../support/eventually.ts'
import { exchange, listen } from '../support/raw-http.ts'
import { stays } from '../support/stays.ts'

/** The next bytes that arrive. */
async function received(socket: Socket): Promise<string> {
  const [chunk] = await once(socket, 'data', { signal: AbortSignal.timeout(5_000) })
  return String(chunk)
}

const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'
const BIG = Buffer.alloc(64 * 1024 * 1024)

interface Server {
  readonly port: number
  readonly app: FastifyInstance
  /** A separate connection, which sends `bytes` immediately. */
  open(bytes?: string): Promise<Socket>
  count(reason: string): Promise<number>
  states(): Promise<Record<string, number>>
  /** Answers the requests for `/slow`. */
  serveLate(): void
}

async function server(
  t: TestContext,
  options?: Partial<ConnectionsOptions> & ConnectionsDeps,
  before?: object
): Promise<Server> {
  const registry = new Registry()
  const app = Fastify({ forceCloseConnections: true, ...before })
  if (options !== undefined) await app.register(connections, { registry, exempt: [], sweepInterval: 20, ...options })
  app.get('/', (_request, reply) => reply.send('served'))
  const { promise: late, resolve: serveLate } = Promise.withResolvers<string>()
  app.get('/slow', () => late)
  app.get('/big', (_request, reply) => reply.send(BIG))
  app.post('/refused', { onRequest: async (_request, reply) => reply.code(401).send('no') }, () => 'never')
  const port = await listen(app)
  t.after(() => app.close())

  const samples = async (name: string) => {
    const lines = (await registry.metrics()).matchAll(new RegExp(`^${name}\\{\\w+="(\\w+)"\\} (\\d+)$`, 'gm'))
    return Object.fromEntries([...lines].map(([, label, value]) => [label!, Number(value)]))
  }
  return {
    port,
    app,
    async open(bytes = '') {
      const socket = connect(port, '127.0.0.1')
      socket.on('error', () => {})
      t.after(() => socket.destroy())
      await once(socket, 'connect')
      if (bytes) socket.write(bytes)
      return socket
    },
    count: async reason => (await samples('rhone_connections_refused_total'))[reason] ?? Number.NaN,
    states: () => samples('rhone_connections'),
    serveLate: () => serveLate('served late')
  }
}

/** True once the server has closed it. */
async function isClosed(socket: Socket): Promise<boolean> {
  socket.resume()
  return eventually(() => socket.closed)
}

async function served(socket: Socket): Promise<Socket> {
  socket.write(GET)
  assert.match(await received(socket), /^HTTP\/1\.1 200 /)
  return socket
}

test('without it, Fastify answers any number of pipelined requests', async t => {
  const { port } = await server(t)
  const replies = await exchange(port, `${GET.repeat(200)}${GET.replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n')}`)
  assert.equal(replies.length, 201)
})

test('connections are counted by state', async t => {
  const { open, states, serveLate } = await server(t, {})
  await open()
  await served(await open())
  await open('GET /slow HTTP/1.1\r\nHost: a\r\n\r\n')
  await eventually(states, ({ new: fresh, busy, idle }) => fresh === 1 && busy === 1 && idle === 1)
  serveLate()
  await eventually(states, ({ busy, idle }) => busy === 0 && idle === 2)
})

test('at the maximum, a never answered connection is closed for a new one, even if it is the youngest', async t => {
  const { open, count } = await server(t, { max: 3 })
  const idle = [await served(await open()), await served(await open())]
  const silent = await open('GET / HTTP/1.1\r\nHost: ')
  const late = await open()
  await served(late)
  assert.equal(await isClosed(silent), true)
  assert.equal(await count('displaced'), 1)
  for (const socket of idle) await served(socket)
})

test('an idle connection is closed if all have been answered', async t => {
  const { open, count } = await server(t, { max: 2 })
  const oldest = await served(await open())
  await served(await open())
  const last = await open()
  assert.equal(await isClosed(oldest), true)
  assert.equal(await count('displaced'), 1)
  await served(last)
})

test('if all are busy, a new one is refused and the requests are served', async t => {
  const { open, count, states, serveLate } = await server(t, { max: 3 })
  const slow = 'GET /slow HTTP/1.1\r\nHost: a\r\n\r\n'
  const replies: Promise<string>[] = []
  for (let connection = 0; connection < 3; connection++) {
    replies.push(received(await open(slow)))
    await eventually(states, ({ busy }) => busy === connection + 1)
  }
  const refused = await open()
  assert.equal(await isClosed(refused), true)
  assert.equal(await count('full'), 1)
  serveLate()
  for (const reply of replies) assert.match(await reply, /^HTTP\/1\.1 200 /)
  await served(await open())
})

test('an address has its own maximum, by the same rule', async t => {
  const { open, count, states, serveLate } = await server(t, { maxPerAddress: 2 })
  const silent = await open()
  const slow = await open('GET /slow HTTP/1.1\r\nHost: a\r\n\r\n')
  const reply = received(slow)
  const next = await open('GET /slow HTTP/1.1\r\nHost: a\r\n\r\n')
  assert.equal(await isClosed(silent), true)
  await eventually(states, ({ busy }) => busy === 2)
  assert.equal(await isClosed(await open()), true)
  assert.equal(await count('displaced'), 1)
  assert.equal(await count('address'), 1)
  serveLate()
  assert.match(await reply, /served late/)
  await received(next)
  await served(next)
})

test('loopback and proxies are exempt', async t => {
  const { open, count } = await server(t, { maxPerAddress: 1, exempt: ['127.0.0.0/8'] })
  const sockets = [await open(), await open(), await open()]
  for (const socket of sockets) await served(socket)
  assert.equal(await count('address'), 0)
})

test('pipelined requests are answered up to the limit, then the connection is closed', async t => {
  const { port, count } = await server(t, { pipelining: 10 })
  const replies = await exchange(port, GET.repeat(1_000))
  assert.deepEqual(
    replies.map(({ statusCode }) => statusCode),
    [...Array(11).fill(200), 400]
  )
  assert.equal(await count('pipelining'), 1)
})

test('with the errors plugin, the refusal is a 429', async t => {
  const guarded = Fastify({
    clientErrorHandler: (error, socket) => guarded.errors.onClientError(error, socket)
  }) as unknown as FastifyInstance
  t.after(() => guarded.close())
  await guarded.register(errors)
  await guarded.register(connections, { pipelining: 1 })
  guarded.get('/', async () => {
    await turn()
    return 'served'
  })
  const replies = await exchange(await listen(guarded), GET.repeat(100))
  assert.deepEqual(
    replies.map(({ statusCode }) => statusCode),
    [200, 200, 429]
  )
  assert.equal(replies[2]?.headers['retry-after'], '1')
  assert.equal(JSON.parse(replies[2]?.body ?? '').error.code, 'RATE_LIMIT')
})

test('a client with a few pipelined requests can continue forever', async t => {
  const { open, count } = await server(t, { pipelining: 3 })
  const socket = await open(GET.repeat(3))
  let taken = 0
  socket.on('data', chunk => {
    const replies = String(chunk).match(/HTTP\/1\.1 200/g)?.length ?? 0
    taken += replies
    if (taken < 300) socket.write(GET.repeat(replies))
  })
  await eventually(
    () => taken,
    number => number >= 300
  )
  assert.equal(await count('pipelining'), 0)
})

test('an unread reply is dropped, but not one that is read slowly and steadily', async t => {
  const { open, count } = await server(t, { readTimeout: 3_000, minReadRate: 1_000 })
  const idler = await open('GET /big HTTP/1.1\r\nHost: a\r\n\r\n')
  const reader = await open('GET /big HTTP/1.1\r\nHost: a\r\n\r\n')
  idler.pause()
  let taken = 0
  reader.on('data', chunk => {
    taken += chunk.length
    if (taken > BIG.length / 2) return
    reader.pause()
    setTimeout(() => reader.resume(), 1)
  })
  await eventually(
    () => count('slow_reader'),
    number => number === 1
  )
  await eventually(
    () => taken,
    number => number > BIG.length
  )
  assert.equal(await count('slow_reader'), 1)
  assert.equal(reader.closed, false)
})

test('the body of a refused request may continue only briefly', async t => {
  const { open, count } = await server(t, { tailTimeout: 100 })
  const socket = await open('POST /refused HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n')
  assert.match(await received(socket), /^HTTP\/1\.1 401 /)
  const endless = setInterval(() => socket.write('1\r\na\r\n'), 10)
  t.after(() => clearInterval(endless))
  assert.equal(await isClosed(socket), true)
  assert.equal(await count('late_body'), 1)
})

test('a body that ends in time leaves its connection usable', async t => {
  const { open, count } = await server(t, { tailTimeout: 60_000 })
  const socket = await open('POST /refused HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na')
  await received(socket)
  await stays(() => !socket.closed, 60) // some sweeps
  socket.write('b')
  await served(socket)
  assert.equal(await count('late_body'), 0)
})

test('a connection that ends with its reply stays open for what its client is still sending', async t => {
  const { port, count } = await server(t, { tailTimeout: 60_000 })
  const client = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  client.write('POST /refused HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 1000\r\n\r\n')
  assert.match(await received(client), /^HTTP\/1.1 401/)
  // Fails if the connection is reset.
  const closed = once(client, 'close')
  for (let part = 0; part < 10; part++) await new Promise(taken => client.write('x'.repeat(100), taken))
  client.end()
  await closed
  assert.equal(await count('late_body'), 0)
})

test('a silent connection is closed without a reply, one that sent something is answered', async t => {
  const http = { headersTimeout: 100, connectionsCheckingInterval: 50 }
  const { open, port, count } = await server(t, {}, { http })
  const silent = await open()
  let heard = ''
  silent.on('data', chunk => (heard += chunk))
  const [reply] = await exchange(port, 'GET / HTTP/1.1\r\nHost: a')
  assert.equal(reply?.statusCode, 408)
  assert.equal(await isClosed(silent), true)
  assert.equal(heard, '')
  assert.equal(await count('silent'), 1)
})

test('all of this holds over TLS, and connections without a handshake are closed first', needsOpenssl, async t => {
  const options = { max: 3, pipelining: 3, readTimeout: 2_000, minReadRate: 1_000 }
  const { port, open, count, states } = await server(t, options, { https: await certificate(t) })
  const talk = async (bytes: string) => {
    const socket = connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false })
    socket.on('error', () => {})
    t.after(() => socket.destroy())
    await once(socket, 'secureConnect')
    socket.write(bytes)
    return socket
  }
  assert.equal(await isClosed(await talk(GET.repeat(20))), true)
  assert.equal(await count('pipelining'), 1)

  const idler = await talk('GET /big HTTP/1.1\r\nHost: a\r\n\r\n')
  idler.pause()
  await talk(GET)
  await eventually(states, ({ busy, idle }) => busy === 1 && idle === 1)
  const speechless = await open()
  await eventually(states, ({ new: fresh }) => fresh === 1)
  await talk(GET)
  assert.equal(await isClosed(speechless), true)
  assert.equal(await count('displaced'), 1)
  await eventually(
    () => count('slow_reader'),
    number => number === 1
  )
})

test('refusals are logged in groups', async t => {
  const lines: string[] = []
  const logger = { level: 'warn', stream: { write: (line: string) => lines.push(line) } }
  const { port, count } = await server(t, { pipelining: 0 }, { logger })
  for (let connection = 0; connection < 5; connection++) await exchange(port, GET.repeat(2))
  assert.equal(await count('pipelining'), 5)
  await eventually(
    () => lines.length,
    number => number > 0
  )
  assert.ok(lines.length <= 2, lines.join())
})

test('closing stops the checks of connections', async t => {
  const { app, open, states } = await server(t, {})
  const socket = await open()
  await eventually(states, ({ new: fresh }) => fresh === 1)
  await app.close()
  assert.equal(await isClosed(socket), true)
  await eventually(states, ({ new: fresh }) => fresh === 0)
})

test('wrong and unknown options fail the boot', async () => {
  await assert.rejects(async () => Fastify().register(connections, { max: 0 }), /rhone-connections: option "max"/)
  await assert.rejects(async () => Fastify().register(connections, { exempt: ['everybody'] }), /option "exempt"/)
  await assert.rejects(
    async () => Fastify().register(connections, { limit: 1 } as object),
    /rhone-connections.*"limit"/
  )
})

test('with other socket internals, connections are limited by number only, and none is lost', async t => {
  const lines: string[] = []
  const logger = { level: 'warn', stream: { write: (line: string) => void lines.push(line) } }
  const changed = { max: 2, tailTimeout: 0, pipelining: 0, inspect: async () => ['socket._httpMessage'] }
  const { open, count } = await server(t, changed, { logger })
  assert.match(lines.join(), /"missing":\["socket\._httpMessage"\].*connections are limited by number only/)

  const idle = await open(GET)
  await received(idle)
  const ahead = await open()
  let replies = ''
  ahead.on('data', chunk => (replies += chunk))
  ahead.write(GET + GET)
  await eventually(() => replies.match(/served/g)?.length === 2)
  const third = await open()
  await once(third, 'close')
  assert.equal(await count('full'), 1)
  assert.equal(await count('displaced'), 0, 'which are idle is not known')
  assert.equal(await count('pipelining'), 0)
  assert.equal(idle.destroyed, false)
})

test('socket internals are not read if the option is off', async t => {
  const { open, count } = await server(t, { max: 1, readSockets: false })
  await received(await open(GET))
  await once(await open(), 'close')
  assert.deepEqual([await count('displaced'), await count('full')], [0, 1])
})
