import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import Fastify, { type FastifyInstance } from 'fastify'
import errorsPlugin from '../../plugins/errors/index.ts'
import { AppError } from '../../plugins/lib/errors.ts'
import uploads, { type StoredUpload, type Upload, type UploadsOptions } from '../../plugins/uploads.ts'
import { eventually } from '../support/eventually.ts'

const GZIP = { 'content-type': 'application/gzip' }
const readAll = async (chunks: AsyncIterable<Uint8Array>) => {
  for await (const _ of chunks);
}

async function server(t: TestContext, options: Partial<UploadsOptions> = {}, inspect = readAll) {
  const directory = await mkdtemp(join(tmpdir(), 'rhone-uploads-'))
  const app: FastifyInstance = Fastify({
    requestTimeout: 400,
    http: { connectionsCheckingInterval: 100, headersTimeout: 400 },
    clientErrorHandler: (error, socket) => app.errors.onClientError(error, socket)
  }) as never
  t.after(async () => {
    await app.close()
    await rm(directory, { recursive: true, force: true })
  })
  await app.register(errorsPlugin, {})
  await app.register(uploads, { directory, ...options })
  const seen: { stored?: StoredUpload; left: string[] } = { left: [] }
  app.post('/', { config: { upload: true } }, async request => {
    const upload = request.body as Upload
    return upload.receive(inspect, async stored => {
      seen.left = await readdir(directory)
      const parts: number[] = []
      for await (const part of stored.read(Math.max(4, Math.ceil(stored.bytes / 3)))) parts.push(part.length)
      return { bytes: stored.bytes, digest: stored.digest, parts, asJson: JSON.parse(JSON.stringify(upload)) }
    })
  })
  app.post('/other', async () => 'ok')
  return { app, directory, seen }
}

const post = (app: FastifyInstance, payload: Buffer, headers: Record<string, string> = GZIP, url = '/') =>
  app.inject({ method: 'POST', url, headers, payload })

test('an upload is stored as it arrives, counted and digested, and read in parts', async t => {
  const { app } = await server(t)
  const reply = (await post(app, Buffer.from('0123456789'))).json()
  assert.deepEqual([reply.bytes, reply.parts], [10, [4, 4, 2]])
  assert.match(reply.digest, /^84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882$/)
  assert.deepEqual(reply.asJson, { digest: reply.digest })
})

test('a stored upload has no file name, so that a crash leaves nothing', async t => {
  const { app, seen } = await server(t)
  assert.equal((await post(app, Buffer.from('abc'))).statusCode, 200)
  assert.deepEqual(seen.left, [])
})

test('an inspection that ends early still gets the whole upload stored, and one that throws refuses it', async t => {
  const early = await server(t, {}, async chunks => {
    for await (const _ of chunks) break
  })
  assert.equal((await post(early.app, Buffer.alloc(300_000))).json().bytes, 300_000)
  const refusing = await server(t, {}, async () => {
    throw new AppError('BAD_REQUEST', { message: 'not this' })
  })
  const reply = await post(refusing.app, Buffer.alloc(10))
  assert.deepEqual([reply.statusCode, reply.json().error.message], [400, 'not this'])
})

test('too many bytes are refused, announced or not', async t => {
  const { app } = await server(t, { maxBytes: 1_000 })
  assert.equal((await post(app, Buffer.alloc(1_000))).statusCode, 200)
  const announced = await post(app, Buffer.alloc(1_001))
  assert.deepEqual([announced.statusCode, announced.json().error.code], [413, 'PAYLOAD_TOO_LARGE'])
  const url = await app.listen({ host: '127.0.0.1', port: 0 })
  const body = new ReadableStream({
    start(controller) {
      for (let part = 0; part < 2; part++) controller.enqueue(randomBytes(600))
      controller.close()
    }
  })
  const init: RequestInit & { duplex: 'half' } = { method: 'POST', headers: GZIP, body, duplex: 'half' }
  assert.equal((await fetch(url, init)).status, 413)
})

test('only routes with the config accept uploads, and only of the configured types', async t => {
  const { app } = await server(t)
  assert.equal((await post(app, Buffer.from('x'), GZIP, '/other')).statusCode, 415)
  assert.equal((await post(app, Buffer.from('x'), { 'content-type': 'application/zip' })).statusCode, 415)
  const other = await server(t, { types: ['application/zip'] })
  assert.equal((await post(other.app, Buffer.from('x'), { 'content-type': 'application/zip' })).statusCode, 200)
})

/** Sends the parts of a body, one every 100 milliseconds, and returns the reply. */
function trickle(app: FastifyInstance, parts: number, announced = parts): Promise<string> {
  const socket = connect((app.server.address() as AddressInfo).port, '127.0.0.1')
  let received = ''
  socket.on('data', chunk => (received += chunk)).on('error', () => {})
  socket.write(
    `POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/gzip\r\nContent-Length: ${announced}\r\n\r\n`
  )
  let sent = 0
  const timer = setInterval(() => (sent++ < parts ? socket.write('x') : clearInterval(timer)), 100)
  return new Promise(resolve =>
    socket.on('close', () => {
      clearInterval(timer)
      resolve(received)
    })
  )
}

test('an upload may take longer than requestTimeout while data arrives', async t => {
  const { app } = await server(t)
  await app.listen({ host: '127.0.0.1', port: 0 })
  assert.match(await trickle(app, 12), /^HTTP\/1.1 200 /)
})

test('an upload that stalls, or takes too long in total, is refused with 408', async t => {
  const stalling = await server(t, { stallTimeout: 300 })
  await stalling.app.listen({ host: '127.0.0.1', port: 0 })
  assert.match(await trickle(stalling.app, 2, 100), /^HTTP\/1.1 408 .*no data arrived/s)
  const slow = await server(t, { timeout: 500 })
  await slow.app.listen({ host: '127.0.0.1', port: 0 })
  assert.match(await trickle(slow.app, 20), /^HTTP\/1.1 408 .*too long in total/s)
})

test('a client that disconnects midway frees its slot and leaves nothing behind', async t => {
  const begun = Promise.withResolvers<void>()
  const { app, directory } = await server(t, { concurrent: 1 }, async chunks => {
    begun.resolve()
    await readAll(chunks)
  })
  await app.listen({ host: '127.0.0.1', port: 0 })
  const socket = connect((app.server.address() as AddressInfo).port, '127.0.0.1')
  socket.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/gzip\r\nContent-Length: 100\r\n\r\nx')
  await begun.promise
  const busy = await post(app, Buffer.from('y'))
  assert.deepEqual([busy.statusCode, busy.headers['retry-after']], [503, '5'])
  socket.destroy()
  await eventually(
    async () => (await post(app, Buffer.from('y'))).statusCode,
    status => status === 200
  )
  assert.deepEqual(await readdir(directory), [])
})

test('a request whose client disconnected keeps its socket, so that the log has the address', async t => {
  for (const leave of [
    // While the body is read, and after it was aborted for being too slow.
    async (socket: Socket) => socket.destroy(),
    async (socket: Socket) => {
      await once(socket, 'data')
      socket.destroy()
    }
  ]) {
    const begun = Promise.withResolvers<void>()
    const { app } = await server(t, { stallTimeout: 200 }, async chunks => {
      begun.resolve()
      await readAll(chunks)
    })
    const ends: boolean[] = []
    app.addHook('onRequest', (request, reply, next) => {
      const { socket } = request.raw
      reply.raw.on('close', () => ends.push(request.raw.socket === socket))
      next()
    })
    await app.listen({ host: '127.0.0.1', port: 0 })
    const socket = connect((app.server.address() as AddressInfo).port, '127.0.0.1')
    socket.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/gzip\r\nContent-Length: 100\r\n\r\nx')
    await begun.promise
    await leave(socket)
    await eventually(() => ends.length > 0)
    assert.deepEqual(ends, [true])
  }
})
