import assert from 'node:assert/strict'
import { AsyncLocalStorage } from 'node:async_hooks'
import { once } from 'node:events'
import { connect } from 'node:net'
import { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { type TestContext, test } from 'node:test'
import { connect as connectTls } from 'node:tls'
import Fastify, { type FastifyInstance, type FastifyReply } from 'fastify'
import writeBatching, { type WriteBatchingOptions } from '../../plugins/write-batching.ts'
import { certificate, needsOpenssl } from '../support/certificate.ts'
import { eventually } from '../support/eventually.ts'
import { exchange, listen } from '../support/raw-http.ts'

const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'
const LAST = 'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'

interface Server {
  readonly app: FastifyInstance
  readonly port: number
}

async function server(
  t: TestContext,
  options: Partial<WriteBatchingOptions>,
  answer: (reply: FastifyReply) => void,
  https?: object
): Promise<Server> {
  const app = Fastify({ forceCloseConnections: true, ...(https && { https }) }) as unknown as FastifyInstance
  await app.register(writeBatching, options)
  app.get('/', (_request, reply) => {
    reply.hijack()
    answer(reply)
  })
  const port = await listen(app)
  t.after(() => app.close())
  return { app, port }
}

/** Whether written data has not been sent yet. */
const isHeld = ({ raw }: FastifyReply) => raw.socket!.writableLength > 0

test('the replies of one turn are sent together', async t => {
  const waiting: FastifyReply[] = []
  const { port } = await server(t, {}, reply => {
    if (waiting.push(reply) < 3) return
    for (const { raw } of waiting) raw.end('served')
    assert.deepEqual(waiting.map(isHeld), [true, true, true])
  })
  const replies = await Promise.all([1, 2, 3].map(() => exchange(port, LAST)))
  assert.deepEqual(
    replies.map(([reply]) => reply?.body),
    ['served', 'served', 'served']
  )
})

test('with single replies per turn, none waits, until this is measured again', async t => {
  const held: boolean[] = []
  const { port } = await server(t, { loneTurns: 2, directWrites: 3 }, reply => {
    reply.raw.end('served')
    held.push(isHeld(reply))
  })
  const socket = connect(port, '127.0.0.1')
  t.after(() => socket.destroy())
  for (let asked = 0; asked < 8; asked++) {
    socket.write(GET)
    await once(socket, 'data')
  }
  assert.deepEqual(held, [true, true, false, false, false, true, true, false])
})

test('pipelined requests are answered in order, without one turn each', async t => {
  let count = 0
  let turn = 0
  const turns = new Set<number>()
  const { port } = await server(t, {}, ({ raw }) => {
    raw.on('finish', () => turns.add(turn))
    raw.end(`<${++count}>`)
  })
  let isOver = false
  const countTurns = () => {
    turn++
    if (!isOver) setImmediate(countTurns)
  }
  countTurns()
  const replies = await exchange(port, GET.repeat(40) + LAST)
  isOver = true
  assert.deepEqual(
    replies.map(({ body }) => body),
    Array.from({ length: 41 }, (_, index) => `<${index + 1}>`)
  )
  assert.ok(turns.size < 10, `${turns.size} turns`)
})

test('written data is not written again when its connection is closed', async t => {
  const { app, port } = await server(t, {}, ({ raw }) => raw.end('served'))
  const socket = connect(port, '127.0.0.1')
  socket.write(GET)
  await once(socket, 'data')
  const rest = text(socket)
  app.server.closeAllConnections()
  assert.equal(await rest, '')
})

for (const [how, end] of [
  ['its socket is destroyed', ({ raw }: FastifyReply) => raw.socket!.destroy()],
  [
    'idle connections are closed',
    ({ server }: FastifyReply) => process.nextTick(() => server.server.closeIdleConnections())
  ],
  ['all connections are closed', ({ server }: FastifyReply) => server.server.closeAllConnections()]
] as const)
  test(`a reply is not lost when, in the same turn, ${how}`, async t => {
    const { port } = await server(t, {}, reply => {
      reply.raw.end('served')
      assert.equal(isHeld(reply), true)
      end(reply)
    })
    const [reply] = await exchange(port, GET)
    assert.equal(reply?.body, 'served')
  })

test('a reply is not lost if unreadable data follows its request', async t => {
  const { port } = await server(t, {}, ({ raw }) => raw.end('served'))
  const [reply] = await exchange(port, `${GET}this is no HTTP\r\n\r\n`)
  assert.equal(reply?.body, 'served')
})

test('all stream chunks and pipelined replies are written before idle connections are closed', async t => {
  const { port } = await server(t, {}, ({ raw, server }) => {
    for (const piece of ['one', 'two']) raw.write(piece)
    raw.end('three')
    process.nextTick(() => server.server.closeIdleConnections())
  })
  const heard = await text(connect(port, '127.0.0.1').end(GET + GET))
  assert.equal(heard.match(/3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n/g)?.length, 2)
})

test('a client that sends many requests and ends its side gets all replies', async t => {
  const { port } = await server(t, {}, ({ raw }) => raw.end('served'))
  const request = `GET / HTTP/1.1\r\nHost: a\r\nX-Big: ${'a'.repeat(8_000)}\r\n\r\n`
  const replies = await exchange(port, request.repeat(32), { end: true })
  assert.equal(replies.length, 32)
})

test('each reply finishes in the context of its request', async t => {
  const current = new AsyncLocalStorage<FastifyReply>()
  const waiting: FastifyReply[] = []
  const { promise, resolve } = Promise.withResolvers<boolean[]>()
  const found: boolean[] = []
  const { port } = await server(t, {}, reply => {
    if (waiting.push(reply) < 3) return
    for (const one of waiting)
      current.run(one, () => {
        one.raw.on('finish', () => {
          if (found.push(current.getStore() === one) === 3) resolve(found)
        })
        one.raw.end('served')
      })
  })
  await Promise.all([1, 2, 3].map(() => exchange(port, LAST)))
  assert.deepEqual(await promise, [true, true, true])
})

test('a stream arrives as it was sent, even if its reader is slow', async t => {
  const chunks = Array.from({ length: 300 }, (_, index) => String(index % 10).repeat(50_000))
  let response: FastifyReply['raw'] | undefined
  const { port } = await server(t, {}, ({ raw }) => {
    response = raw
    Readable.from(chunks).pipe(raw)
  })
  const reply = await fetch(`http://127.0.0.1:${port}/`)
  await eventually(() => response?.writableNeedDrain)
  assert.equal(await reply.text(), chunks.join(''))
})

test('a client that disconnects before its reply is written does no harm', async t => {
  const { port } = await server(t, {}, ({ raw }) => {
    raw.socket!.resetAndDestroy()
    raw.end('served')
  })
  const outcomes = await Promise.allSettled([1, 2, 3].map(() => fetch(`http://127.0.0.1:${port}/`)))
  assert.deepEqual(
    outcomes.map(({ status }) => status),
    ['rejected', 'rejected', 'rejected']
  )
})

test('over TLS replies are held back as well, and arrive', needsOpenssl, async t => {
  const body = 'served '.repeat(100_000)
  const held: boolean[] = []
  const { port } = await server(
    t,
    {},
    reply => {
      reply.raw.end(body)
      held.push(isHeld(reply))
    },
    await certificate(t)
  )
  const socket = connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false })
  socket.write(LAST)
  assert.ok((await text(socket)).includes(body))
  assert.deepEqual(held, [true])
})

test('an exception of one reply’s listener delays no other reply', async t => {
  const thrown = Promise.withResolvers<Error>()
  const others = process.listeners('uncaughtException')
  process.removeAllListeners('uncaughtException').once('uncaughtException', thrown.resolve)
  t.after(() => {
    process.removeAllListeners('uncaughtException')
    for (const other of others) process.on('uncaughtException', other)
  })
  const waiting: FastifyReply[] = []
  const { port } = await server(t, {}, reply => {
    if (waiting.push(reply) < 3) return
    waiting[0]!.raw.on('finish', () => {
      throw new Error('a bug')
    })
    for (const { raw } of waiting) raw.end('served')
  })
  const replies = await Promise.all([1, 2, 3].map(() => exchange(port, LAST)))
  assert.deepEqual(
    replies.map(([reply]) => reply?.body),
    ['served', 'served', 'served']
  )
  assert.equal((await thrown.promise).message, 'a bug')
})

test('with other socket internals, no reply is held back, and a warning is logged', async t => {
  const lines: string[] = []
  const app = Fastify({ logger: { level: 'warn', stream: { write: line => void lines.push(line) } } })
  t.after(() => app.close())
  await app.register(writeBatching, { inspect: async () => ['socket.parser.incoming'] })
  const held: boolean[] = []
  app.get('/', (_request, reply) => {
    reply.hijack()
    reply.raw.end('served')
    held.push(isHeld(reply))
  })
  const port = await listen(app as unknown as FastifyInstance)
  const replies = await Promise.all([1, 2, 3].map(() => exchange(port, LAST)))
  assert.deepEqual(
    replies.map(([reply]) => reply?.body),
    ['served', 'served', 'served']
  )
  assert.deepEqual(held, [false, false, false])
  assert.match(lines.join(), /"missing":\["socket\.parser\.incoming"\].*each reply is written at once, which is slower/)
})
