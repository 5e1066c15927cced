import assert from 'node:assert/strict'
import { once } from 'node:events'
import { Agent, get, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { PassThrough } from 'node:stream'
import { type TestContext, test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import Fastify from 'fastify'
import drain from '../../plugins/drain.ts'
import { createLogger } from '../../plugins/logging/logger.ts'
import { eventually } from '../support/eventually.ts'
import { stays } from '../support/stays.ts'

async function server(t: TestContext, options: object = {}) {
  const phases: string[] = []
  const write = (line: string) => {
    const { phase } = JSON.parse(line)
    if (phase) phases.push(phase)
  }
  const app = Fastify({
    loggerInstance: createLogger({ level: 'info', destination: { write } }),
    return503OnClosing: false,
    forceCloseConnections: 'idle'
  })
  const { promise: released, resolve: release } = Promise.withResolvers<void>()
  const held = Promise.withResolvers<void>()
  await app.register(drain, options)
  app.get('/', async () => 'served')
  app.get('/busy', async () => {
    for (let turns = 0; turns < 10; turns++) await turn()
    return 'served'
  })
  app.get('/held', async () => {
    held.resolve()
    await released
    return 'served'
  })
  app.get('/hangs', () => new Promise(() => {}))
  await app.listen({ host: '127.0.0.1', port: 0 })
  t.after(() => app.close())
  return { app, phases, port: (app.server.address() as AddressInfo).port, isHeld: held.promise, release }
}

async function request(port: number, path: string, agent?: Agent): Promise<IncomingMessage> {
  const [reply] = (await once(get({ port, path, agent, host: '127.0.0.1' }), 'response')) as [IncomingMessage]
  reply.resume()
  return reply
}

/** A connection whose bytes the server has read. */
async function opened(t: TestContext, server: Server, bytes = ''): Promise<Socket> {
  const accepted = once(server, 'connection')
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
  t.after(() => socket.destroy())
  const [there] = (await accepted) as [Socket]
  if (bytes) socket.write(bytes)
  await eventually(() => there.bytesRead >= bytes.length)
  return socket
}

async function lasting(work: Promise<unknown>): Promise<number> {
  const started = performance.now()
  await work
  return performance.now() - started
}

test('until the drain starts, connections are kept', async t => {
  const { app, port } = await server(t)
  assert.equal(app.drain.draining, false)
  assert.equal((await request(port, '/', new Agent({ keepAlive: true }))).headers.connection, 'keep-alive')
})

test('during the grace period it keeps serving, and every reply closes its connection', async t => {
  const { app, phases, port, isHeld, release } = await server(t, { grace: 50 })
  const agent = new Agent({ keepAlive: true })
  const early = request(port, '/held', agent)
  await isHeld
  const drained = app.drain.start()
  assert.equal(app.drain.draining, true)
  const during = await request(port, '/', agent)
  release()
  const before = await early
  assert.equal(before.statusCode, 200)
  assert.equal(before.headers.connection, 'close', 'it was in flight when the drain started')
  assert.equal(during.statusCode, 200)
  assert.equal(during.headers.connection, 'close')
  await drained
  await app.close()
  assert.deepEqual(phases, ['grace', 'closing', 'closed'])
})

test('starting twice has no further effect, and the drain lasts for the grace period', async t => {
  const { app, phases } = await server(t, { grace: 60 })
  const took = await lasting(Promise.all([app.drain.start(), app.drain.start()]))
  assert.ok(took >= 55, `${took} ms`)
  assert.deepEqual(phases, ['grace'])
})

test('requests in flight are finished, new connections are refused, and idle ones do not hold up the close', async t => {
  const { app, port, isHeld, release } = await server(t)
  await request(port, '/', new Agent({ keepAlive: true }))
  const slow = request(port, '/held', new Agent({ keepAlive: true }))
  await isHeld
  await app.drain.start()
  let isClosed = false
  const closing = app.close().then(() => {
    isClosed = true
  })
  await eventually(
    () => request(port, '/').catch((error: NodeJS.ErrnoException) => error.code === 'ECONNREFUSED'),
    Boolean
  )
  assert.equal(isClosed, false)
  release()
  assert.equal((await slow).statusCode, 200)
  await closing
})

test('a reply to a request in flight closes its connection without a wait', async t => {
  const keepAliveTimeout = 60_000
  const app = Fastify({ forceCloseConnections: 'idle', return503OnClosing: false, keepAliveTimeout })
  await app.register(drain)
  t.after(() => app.close())
  const { promise: hijacked, resolve } = Promise.withResolvers<ServerResponse>()
  app.get('/hijacks', (_request, reply) => {
    reply.hijack()
    resolve(reply.raw)
  })
  await app.listen({ host: '127.0.0.1', port: 0 })
  const reply = request((app.server.address() as AddressInfo).port, '/hijacks', new Agent({ keepAlive: true }))
  const response = await hijacked
  const closing = lasting(app.close())
  await eventually(() => app.drain.draining)
  response.end('served') // no hook of Fastify's sees this reply
  assert.ok((await closing) < keepAliveTimeout / 2)
  assert.equal((await reply).headers.connection, 'close')
})

for (const [who, bytes] of [
  ['a slow request head', 'GET / HTTP/1.1\r\nhost: x\r\n'],
  ['a connection that never says anything', '']
] as const)
  test(`${who} does not delay the close for long`, async t => {
    const { app } = await server(t, { headGrace: 150 })
    const socket = await opened(t, app.server, bytes)
    const ended = once(socket, 'close')
    const took = await lasting(app.close())
    await ended
    assert.ok(took >= 140 && took < app.server.headersTimeout / 2, `${took} ms`)
  })

test('a slow head is tolerated while other requests are in flight', async t => {
  const { app, port, isHeld, release } = await server(t, { headGrace: 50 })
  const slow = request(port, '/held')
  await isHeld
  const socket = await opened(t, app.server, 'GET / HTTP/1.1\r\nhost: x\r\n')
  const closing = app.close()
  await stays(() => !socket.closed, 200)
  socket.write('\r\n')
  const [chunk] = await once(socket, 'data')
  assert.match(String(chunk), /^HTTP\/1\.1 200 /)
  assert.match(String(chunk), /connection: close/i)
  release()
  assert.equal((await slow).statusCode, 200)
  await closing
})

test('the deadline closes the remaining connections, counted from the start of the drain', async t => {
  const [grace, deadline] = [900, 1_000]
  const { app, phases } = await server(t, { grace, deadline })
  const body = await opened(t, app.server, 'GET /hangs HTTP/1.1\r\nhost: x\r\n\r\n')
  const cutOff = once(body, 'close')
  const took = await lasting(app.drain.start().then(() => app.close()))
  await cutOff
  assert.ok(took >= deadline - 20 && took < grace + deadline, `${took} ms`)
  assert.ok(phases.includes('deadline'))
})

test('upgraded connections end with the deadline, too', async t => {
  const { app } = await server(t, { deadline: 200 })
  app.server.on('upgrade', (_request, socket) => socket.write('HTTP/1.1 101 Switching Protocols\r\n\r\n'))
  const socket = await opened(
    t,
    app.server,
    'GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: test\r\n\r\n'
  )
  const ended = once(socket.resume(), 'close')
  await app.close()
  await ended
})

test('streams are ended after the grace and before the close, and one that fails to end does not stop the others', async t => {
  const { app, phases } = await server(t, { grace: 100 })
  let ended = 0
  app.drain.onDrain(() => {
    throw new Error('on purpose')
  })
  const stream = new PassThrough()
  app.drain.onDrain(() => {
    ended++
    stream.end('over\n')
  })
  const takeBack = app.drain.onDrain(() => assert.fail('it was taken back'))
  takeBack()

  const draining = app.drain.start()
  assert.equal(ended, 0)
  await draining
  assert.equal(ended, 1)
  await app.close()
  assert.equal(ended, 1)
  assert.deepEqual(phases, ['grace', 'streams', 'closing', 'closed'])
})

test('closing without a drain ends streams as well', async t => {
  const { app } = await server(t)
  let ended = 0
  app.drain.onDrain(() => ended++)
  await app.close()
  assert.equal(ended, 1)
  assert.equal(app.drain.draining, true)
})

test('under steady load of keep-alive clients, no accepted request is lost', async t => {
  const { app, port } = await server(t, { grace: 300 })
  const failures: unknown[] = []
  let served = 0
  let isOver = false
  const client = async () => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    while (!isOver && !t.signal.aborted) {
      try {
        const reply = await request(port, '/busy', agent)
        await once(reply, 'end')
        if (reply.statusCode === 200) served++
        else failures.push(reply.statusCode)
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ECONNREFUSED') break
        failures.push(error)
      }
    }
    agent.destroy()
  }
  const clients = Array.from({ length: 20 }, client)
  await eventually(
    () => served,
    count => count > 100
  )
  await app.drain.start()
  await app.close()
  isOver = true
  await Promise.all(clients)
  // The system resets connections that wait in the backlog of a socket that stops listening: those were never accepted.
  assert.deepEqual(
    failures.filter(failure => (failure as NodeJS.ErrnoException).code !== 'ECONNRESET'),
    []
  )
  t.diagnostic(`${served} served, ${failures.length} connections reset before they were accepted`)
  assert.ok(failures.length <= 20, `${failures.length} of the last connections were reset`)
})

test('an app that never listened closes', async () => {
  const app = Fastify()
  await app.register(drain)
  await app.ready()
  await app.close()
})

test('wrong and unknown options fail the boot', async () => {
  await assert.rejects(async () => Fastify().register(drain, { grace: -1 }), /rhone-drain: option "grace"/)
  await assert.rejects(async () => Fastify().register(drain, { wait: 1 } as object), /rhone-drain.*"wait"/)
})
