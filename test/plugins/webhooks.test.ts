import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { type TestContext, test } from 'node:test'
import { Registry } from '@platformatic/prom-client'
import Fastify, { type FastifyInstance } from 'fastify'
import { Redis } from 'ioredis'
import { webhookDeliveries } from '../../drizzle/schema.ts'
import { githubSource } from '../../integrations/github/webhook-source.ts'
import clientIp from '../../plugins/client-ip.ts'
import database from '../../plugins/database/index.ts'
import errorsPlugin from '../../plugins/errors/index.ts'
import maintenance from '../../plugins/maintenance/index.ts'
import rateLimit, {
  createSharedBuckets,
  type RateLimitDeps,
  type RateLimitOptions
} from '../../plugins/rate-limit/index.ts'
import webhooks, { type Delivery, type WebhooksDeps, type WebhooksOptions } from '../../plugins/webhooks/index.ts'
import { WEBHOOK_OUTCOMES } from '../../plugins/webhooks/receiver.ts'
import { deliveryStore } from '../../src/workflows/deploying/delivery-store.ts'
import { freshDatabase } from '../support/database.ts'
import { eventually } from '../support/eventually.ts'
import { ping, push, type SignedDelivery, signed } from '../support/github-deliveries.ts'
import { exchange, listen } from '../support/raw-http.ts'
import { redisServer } from '../support/redis.ts'
import { tcpProxy } from '../support/tcp-proxy.ts'

const SECRET = 'a secret of the tests'
const PATH = '/webhooks/github'
const pushBy = (installationId: number) => push({ installationId, repoId: 5 })

/** Keeps deliveries in memory, as a database would. */
function memoryStore() {
  const kept = new Map<string, Delivery>()
  return {
    kept,
    async keep(delivery: Delivery) {
      if (kept.has(delivery.deliveryId)) return 'known' as const
      kept.set(delivery.deliveryId, delivery)
      return 'new' as const
    }
  }
}

type Input = Partial<WebhooksOptions> & WebhooksDeps

async function server(
  t: TestContext,
  input: Input = {},
  limits?: Partial<RateLimitOptions> & RateLimitDeps
): Promise<{ app: FastifyInstance; kept: Map<string, Delivery>; registry: Registry }> {
  const app: FastifyInstance = Fastify({ forceCloseConnections: true })
  t.after(() => app.close())
  const registry = new Registry()
  const store = memoryStore()
  await app.register(errorsPlugin)
  await app.register(clientIp)
  if (limits !== undefined) await app.register(rateLimit, { registry, ...limits })
  await app.register(webhooks, { sources: [githubSource({ secrets: [SECRET] })], store, registry, ...input })
  return { app, kept: store.kept, registry }
}

const send = (app: FastifyInstance, { headers, payload }: SignedDelivery, remoteAddress = '140.82.115.1') =>
  app.inject({ method: 'POST', url: PATH, headers, payload, remoteAddress })

const statusesOf = (replies: { statusCode: number }[]) => replies.map(({ statusCode }) => statusCode)
const tally = (codes: number[]) =>
  Object.fromEntries(Object.entries(Object.groupBy(codes, code => code)).map(([code, all]) => [code, all!.length]))

async function counted(registry: Registry): Promise<Record<string, number>> {
  const values = (await registry.getSingleMetric('rhone_webhooks_total')!.get()).values
  const happened = values.filter(({ value }) => value > 0)
  return Object.fromEntries(happened.map(({ labels, value }) => [`${labels.source} ${labels.outcome}`, value]))
}

test('every outcome of a source is counted from zero, so that a rate sees the first', async t => {
  const { registry } = await server(t)
  const { values } = await registry.getSingleMetric('rhone_webhooks_total')!.get()
  assert.equal(values.length, WEBHOOK_OUTCOMES.length)
  assert.ok(values.every(({ value }) => value === 0))
})

test('by default it accepts nothing and has no side effects', async t => {
  const app: FastifyInstance = Fastify()
  t.after(() => app.close())
  await app.register(webhooks)
  assert.equal((await send(app, signed('push', pushBy(1), { secret: SECRET }))).statusCode, 404)
})

test('a signed delivery is stored byte for byte and acknowledged, even a ping', async t => {
  const { app, kept, registry } = await server(t)
  for (const [event, payload] of [
    ['push', pushBy(1)],
    ['ping', ping()],
    ['an_event_of_next_year', { new: 'thing' }]
  ] as const) {
    const delivery = signed(event, payload, { secret: SECRET })
    const reply = await send(app, delivery)
    assert.equal(reply.statusCode, 202)
    assert.deepEqual(reply.json(), { accepted: true, duplicate: false })
    const deliveryId = delivery.headers['x-github-delivery']!
    assert.deepEqual(kept.get(deliveryId), { source: 'github', deliveryId, event, payload: delivery.payload })
  }
  assert.deepEqual(await counted(registry), { 'github accepted': 3 })
})

test('a repeated delivery is acknowledged again and stored once', async t => {
  const { app, kept, registry } = await server(t)
  const delivery = signed('push', pushBy(1), { secret: SECRET })
  const replies = await Promise.all(Array.from({ length: 5 }, () => send(app, delivery)))
  assert.deepEqual(
    replies.map(reply => [reply.statusCode, reply.json().duplicate]).toSorted(),
    [
      [202, false],
      [202, true],
      [202, true],
      [202, true],
      [202, true]
    ].toSorted()
  )
  assert.equal(kept.size, 1)
  assert.deepEqual(await counted(registry), { 'github accepted': 1, 'github duplicate': 4 })
})

test('an unsigned or altered delivery is refused and not stored', async t => {
  const { app, kept, registry } = await server(t)
  const genuine = signed('push', pushBy(1), { secret: SECRET })
  const { 'x-hub-signature-256': signature = '', ...unsigned } = genuine.headers
  const withSignature = (value: string) => ({ ...genuine, headers: { ...unsigned, 'x-hub-signature-256': value } })
  const tampered = Buffer.from(genuine.payload)
  tampered[tampered.length - 3]! ^= 1

  const forgeries: Record<string, SignedDelivery> = {
    'no signature': { ...genuine, headers: unsigned },
    'an empty one': withSignature(''),
    'one without its algorithm': withSignature(signature.slice('sha256='.length)),
    'one of SHA-1': withSignature(`sha1=${'0'.repeat(40)}`),
    'a short one': withSignature(signature.slice(0, -1)),
    'a long one': withSignature(`${signature}0`),
    'one that is not hexadecimal': withSignature(`sha256=${'é'.repeat(32)}`),
    'two of them': withSignature(`${signature}, ${signature}`),
    'another secret': signed('push', pushBy(1), { secret: `${SECRET}.` }),
    'no secret': signed('push', pushBy(1), { secret: '' }),
    'a flipped bit': { ...genuine, payload: tampered },
    'a byte more': { ...genuine, payload: Buffer.concat([genuine.payload, Buffer.from('\n')]) },
    'the same JSON, written otherwise': {
      ...genuine,
      payload: Buffer.from(JSON.stringify(JSON.parse(genuine.payload.toString()), null, 1))
    },
    'no body': { ...genuine, payload: Buffer.alloc(0) }
  }
  for (const [name, forgery] of Object.entries(forgeries)) {
    const reply = await send(app, forgery)
    assert.deepEqual([reply.statusCode, reply.json().error.code], [401, 'UNAUTHORIZED'], name)
  }
  assert.equal(kept.size, 0)
  assert.deepEqual(await counted(registry), { 'github invalid_signature': Object.keys(forgeries).length })
})

test('the signature covers bytes, so any text is valid', async t => {
  const { app, kept } = await server(t)
  const bodies = [
    Buffer.from('  { "a" :\t1 }\r\n\r\n'),
    Buffer.from('{"a":"\\u0000\\ud800"}'),
    Buffer.from('{"a":"💥 é e\u0301 \u2028 \u202e"}'),
    Buffer.concat([Buffer.from('{"latin1":"'), Buffer.from([0xe9, 0xff, 0xfe]), Buffer.from('"}')]),
    Buffer.from(
      `{"__proto__":{"installation":{"id":1}},"constructor":null,"deep":${'['.repeat(500)}${']'.repeat(500)}}`
    )
  ]
  for (const body of bodies) {
    const delivery = signed('push', body, { secret: SECRET })
    assert.equal((await send(app, delivery)).statusCode, 202, body.toString())
    assert.deepEqual(kept.get(delivery.headers['x-github-delivery']!)?.payload, body)
  }
})

test('a signed but invalid delivery is refused with the reason', async t => {
  const { app, kept, registry } = await server(t)
  const genuine = signed('push', pushBy(1), { secret: SECRET })
  const without = (name: string) => ({
    ...genuine,
    headers: Object.fromEntries(Object.entries(genuine.headers).filter(([key]) => key !== name))
  })
  const withHeader = (name: string, value: string) => ({ ...genuine, headers: { ...genuine.headers, [name]: value } })
  const cases: [SignedDelivery, number, RegExp][] = [
    [without('x-github-delivery'), 400, /X-GitHub-Delivery/],
    [withHeader('x-github-delivery', 'a b'), 400, /X-GitHub-Delivery/],
    [withHeader('x-github-delivery', 'x'.repeat(101)), 400, /X-GitHub-Delivery/],
    [without('x-github-event'), 400, /X-GitHub-Event/],
    [withHeader('x-github-event', "'; drop"), 400, /X-GitHub-Event/],
    [withHeader('content-type', 'application/x-www-form-urlencoded'), 415, /application\/json/],
    [without('content-type'), 415, /application\/json/],
    ...['', '{', '[]', 'null', '"x"', '{"a":1}\0'].map(
      body =>
        [signed('push', Buffer.from(body), { secret: SECRET }), 400, /not a JSON object/] as [
          SignedDelivery,
          number,
          RegExp
        ]
    )
  ]
  for (const [delivery, status, message] of cases) {
    const reply = await send(app, delivery)
    assert.equal(reply.statusCode, status, reply.body)
    assert.match(reply.body, message)
  }
  assert.equal(kept.size, 0)
  assert.deepEqual(await counted(registry), { 'github malformed': cases.length })
})

test('during a rotation, both the new and the old secret are accepted', async t => {
  const { app } = await server(t, { sources: [githubSource({ secrets: ['new', SECRET] })] })
  const codes = statusesOf(
    await Promise.all(['new', SECRET, 'older'].map(secret => send(app, signed('push', pushBy(1), { secret }))))
  )
  assert.deepEqual(codes, [202, 202, 401])
})

test('without a secret or a store, it reports that it is not configured', async t => {
  for (const input of [{ sources: [githubSource({ secrets: [] })] }, { store: undefined }] as Input[]) {
    const { app } = await server(t, input)
    for (const secret of [SECRET, '', 'undefined']) {
      const reply = await send(app, signed('push', pushBy(1), { secret }))
      assert.deepEqual([reply.statusCode, reply.json().error.code], [501, 'NOT_CONFIGURED'])
    }
  }
})

test('a webhook that could not be stored is never acknowledged', async t => {
  let isAway = true
  const store = memoryStore()
  const keep = async (delivery: Delivery) => {
    if (isAway)
      throw Object.assign(new Error('connect ECONNREFUSED postgres://user:secret@db'), { code: 'ECONNREFUSED' })
    return store.keep(delivery)
  }
  const { app, registry } = await server(t, { store: { keep } })
  const delivery = signed('push', pushBy(1), { secret: SECRET })
  const failed = await send(app, delivery)
  assert.ok(failed.statusCode >= 500, String(failed.statusCode))
  assert.doesNotMatch(failed.body, /postgres|secret/)

  isAway = false
  assert.deepEqual((await send(app, delivery)).json(), { accepted: true, duplicate: false })
  assert.deepEqual(await counted(registry), { 'github not_kept': 1, 'github accepted': 1 })
})

test('a body beyond the limit is refused, announced or not', async t => {
  const { app, kept, registry } = await server(t, { bodyLimit: 1_000 })
  const fits = signed('push', Buffer.from(`{"a":"${'x'.repeat(991)}"}`.padEnd(1_000)), { secret: SECRET })
  assert.equal(fits.payload.length, 1_000)
  assert.equal((await send(app, fits)).statusCode, 202)
  const tooLong = signed('push', Buffer.from(`{"a":"${'x'.repeat(1_000)}"}`), { secret: SECRET })
  const reply = await send(app, tooLong)
  assert.deepEqual([reply.statusCode, reply.json().error.code], [413, 'PAYLOAD_TOO_LARGE'])

  const port = await listen(app)
  const [chunked] = await exchange(
    port,
    Buffer.concat([head(tooLong, { 'transfer-encoding': 'chunked' }), chunk(tooLong.payload)])
  )
  assert.equal(chunked?.statusCode, 413)
  assert.equal(kept.size, 1)
  assert.deepEqual(await counted(registry), { 'github accepted': 1, 'github malformed': 2 })
})

test('GitHub’s longest payload, 25 MiB, is accepted', async t => {
  const { app, kept } = await server(t)
  const start = '{"installation":{"id":1},"a":"'
  const body = Buffer.from(`${start}${'x'.repeat(25 * 1024 * 1024 - start.length - 2)}"}`)
  const delivery = signed('push', body, { secret: SECRET })
  assert.equal((await send(app, delivery)).statusCode, 202)
  assert.ok(kept.get(delivery.headers['x-github-delivery']!)?.payload.equals(body))
})

test('a chunked body of unknown length is accepted as well', async t => {
  const { app, kept } = await server(t)
  const port = await listen(app)
  const delivery = signed('push', pushBy(1), { secret: SECRET })
  const socket = await open(port, head(delivery, { 'transfer-encoding': 'chunked', connection: 'close' }))
  for (const byte of [
    delivery.payload.subarray(0, 1),
    delivery.payload.subarray(1, 700),
    delivery.payload.subarray(700)
  ]) {
    await new Promise(taken => socket.write(chunk(byte), taken))
  }
  socket.write('0\r\n\r\n')
  assert.match(await textOf(socket), /^HTTP\/1\.1 202 /)
  assert.deepEqual([...kept.values()][0]?.payload, delivery.payload)
})

test('a body that does not arrive in time is given up', async t => {
  const { app, kept } = await server(t, { bodyTimeout: 100 })
  const port = await listen(app)
  const delivery = signed('push', pushBy(1), { secret: SECRET })
  const socket = await open(port, head(delivery, { 'content-length': String(delivery.payload.length) }))
  socket.write(delivery.payload.subarray(0, 50))
  const reply = await textOf(socket)
  assert.match(reply, /^HTTP\/1\.1 408 /)
  assert.match(reply, /connection: close/i)
  assert.equal(kept.size, 0)
})

test('all bodies together stay within the limit, and free their share on every outcome', async t => {
  const { app, kept, registry } = await server(t, { bodyLimit: 4_000, bytesInFlight: 10_000 })
  const port = await listen(app)
  const delivery = signed('push', Buffer.from(JSON.stringify({ a: 'x'.repeat(3_900) })), { secret: SECRET })
  const half = async (headers: Record<string, string>, framed = (bytes: Buffer) => bytes) => {
    const socket = await open(port, head(delivery, headers))
    socket.write(framed(delivery.payload.subarray(0, 3_500)))
    return socket
  }
  const withLength = { 'content-length': String(delivery.payload.length) }
  const slow = [await half(withLength), await half({ 'transfer-encoding': 'chunked' }, chunk)]
  // Seven thousand are held as soon as the server has read them; until then there may be room.
  const busy = await eventually(
    () =>
      send(
        app,
        { ...delivery, headers: { ...delivery.headers, 'x-github-delivery': `probe-${Math.random()}` } },
        '127.0.0.1'
      ),
    ({ statusCode }) => statusCode === 503,
    5_000
  )
  assert.equal(busy.json().error.code, 'SERVICE_UNAVAILABLE')
  assert.equal(busy.headers['retry-after'], '5')

  const [full] = await exchange(
    port,
    Buffer.concat([
      head(delivery, { 'transfer-encoding': 'chunked' }),
      chunk(delivery.payload),
      Buffer.from('0\r\n\r\n')
    ])
  )
  assert.equal(full?.statusCode, 503, 'nor is there room for one that has not said how long it is')

  const before = kept.size
  for (const socket of slow) socket.destroy()
  await eventually(
    () => send(app, delivery),
    ({ statusCode }) => statusCode === 202,
    5_000
  )
  for (let time = 0; time < 20; time++) assert.equal((await send(app, delivery)).statusCode, 202)
  assert.equal(kept.size, before + 1)
  assert.ok((await counted(registry))['github not_kept']! >= 2)
})

test('unfinished uploads of unknown senders block nobody: the largest holder is dropped first', async t => {
  const { app } = await server(t, { bodyLimit: 4_000, bytesInFlight: 12_000 })
  const port = await listen(app)
  const forged = signed('push', Buffer.from(JSON.stringify({ a: 'x'.repeat(3_900) })), { secret: 'wrong' })
  const stall = async (length: number) => {
    const socket = await open(port, head(forged, { 'content-length': String(forged.payload.length) }))
    socket.write(forged.payload.subarray(0, length))
    return { socket, reply: textOf(socket) }
  }
  const [small, ...large] = [await stall(3_700), await stall(3_800), await stall(3_800)]
  const isFull = async () => (await send(app, forged, '127.0.0.1')).statusCode === 503
  await eventually(isFull, full => full)

  const genuine = signed('push', Buffer.from(JSON.stringify({ a: 'x'.repeat(3_000) })), { secret: SECRET })
  assert.equal((await send(app, genuine)).statusCode, 202)
  assert.match(await Promise.race(large.map(({ reply }) => reply)), /^HTTP\/1\.1 503 /)
  assert.equal(small!.socket.closed, false)
  const all = [small!, ...large]
  for (const { socket } of all) socket.destroy()
  await Promise.allSettled(all.map(({ reply }) => reply))
})

test('a long body counts against its address before it is read, unless it proves genuine', async t => {
  const { app, registry } = await server(t, { shortBody: 100 }, { webhook: { ratePerSecond: 1 / 3600, burst: 3 } })
  const port = await listen(app)
  const ask = (secret: string) => send(app, signed('push', pushBy(1 + Math.random() * 1e6), { secret }), '127.0.0.1')
  for (let time = 0; time < 5; time++) assert.equal((await ask(SECRET)).statusCode, 202)
  for (let time = 0; time < 3; time++) assert.equal((await ask('wrong')).statusCode, 401)

  const forged = signed('push', pushBy(1), { secret: 'wrong' })
  for (const framing of [{ 'content-length': '1000000' }, { 'transfer-encoding': 'chunked' }]) {
    const socket = await open(port, head(forged, framing as unknown as Record<string, string>))
    const [reply] = await once(socket, 'data')
    assert.match(String(reply), /^HTTP\/1\.1 429 /, 'without any of its body')
    socket.destroy()
  }
  assert.equal((await counted(registry))['github limited'], 2)
})

test('an interrupted body counts against its address', async t => {
  const { app } = await server(t, { bodyTimeout: 50 }, { webhook: { ratePerSecond: 1 / 3600, burst: 2 } })
  const port = await listen(app)
  const delivery = signed('push', pushBy(1), { secret: SECRET })
  for (let time = 0; time < 2; time++) {
    const socket = await open(port, head(delivery, { 'content-length': String(delivery.payload.length) }))
    assert.match(await textOf(socket), /^HTTP\/1\.1 408 /)
  }
  assert.equal((await send(app, signed('push', pushBy(1), { secret: 'wrong' }), '127.0.0.1')).statusCode, 429)
})

test('a client that announces a long body and sends nothing takes no room from others', async t => {
  const { app } = await server(t, { bodyLimit: 4_000, bytesInFlight: 4_000 })
  const port = await listen(app)
  const delivery = signed('push', pushBy(1), { secret: SECRET })
  const accepted: Socket[] = []
  app.server.on('connection', socket => accepted.push(socket))
  for (let socket = 0; socket < 5; socket++) await open(port, head(delivery, { 'content-length': '4000' }))
  await eventually(() => accepted.length === 5 && accepted.every(({ bytesRead }) => bytesRead > 0))
  assert.equal((await send(app, signed('push', { small: true }, { secret: SECRET }))).statusCode, 202)
})

test('an unsigned request is refused before any of its body is read', async t => {
  const { app } = await server(t, {}, {})
  const port = await listen(app)
  const socket = await open(
    port,
    Buffer.from(`POST ${PATH} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 1000000\r\n\r\n`)
  )
  const [reply] = await once(socket, 'data')
  assert.match(String(reply), /^HTTP\/1\.1 401 /)
  socket.destroy()
})

test('five hundred unsigned deliveries at once are refused as such, the next as too many', async t => {
  const { app, registry } = await server(t, {}, {})
  t.mock.method(performance, 'now', () => 12_345)
  const genuine = signed('push', pushBy(1), { secret: SECRET })
  const { 'x-hub-signature-256': _, ...headers } = genuine.headers
  const codes = statusesOf(await Promise.all(Array.from({ length: 501 }, () => send(app, { ...genuine, headers }))))
  assert.deepEqual(tally(codes), { 401: 500, 429: 1 })

  const forged = await send(app, signed('push', pushBy(1), { secret: 'wrong' }))
  assert.equal(forged.statusCode, 429)
  assert.equal(forged.headers['retry-after'], '1')
  assert.match(String(forged.headers['ratelimit-policy']), /^"webhook";q=500;/)
  assert.equal((await send(app, signed('push', pushBy(1), { secret: 'wrong' }), '203.0.113.9')).statusCode, 401)
  const refused = (await registry.getSingleMetric('rhone_rate_limited_total')!.get()).values
  assert.equal(refused.find(({ labels }) => labels.class === 'webhook')?.value, 2)
})

test('traffic of others, or a forger, from GitHub’s addresses does not block a deploy', async t => {
  const { app, kept } = await server(t, {}, { webhook: { ratePerSecond: 1 / 3600, burst: 20 } })
  for (let forged = 0; forged < 30; forged++) await send(app, signed('push', pushBy(1), { secret: 'wrong' }))
  const installations = Array.from({ length: 60 }, (_, n) => 1 + (n % 6))
  const replies = await Promise.all(installations.map(id => send(app, signed('push', pushBy(id), { secret: SECRET }))))
  assert.deepEqual(tally(statusesOf(replies)), { 202: 60 })
  assert.equal(kept.size, 60)
})

test('six hundred signed deliveries of several installations are taken at once, from one address', async t => {
  const { app } = await server(t, {}, {})
  const installations = Array.from({ length: 600 }, (_, n) => 1 + (n % 3))
  const replies = await Promise.all(installations.map(id => send(app, signed('push', pushBy(id), { secret: SECRET }))))
  assert.deepEqual(tally(statusesOf(replies)), { 202: 600 })
})

/** Stores of the limiter, with the same results. */
const counters: Record<string, (t: TestContext) => Promise<RateLimitDeps | undefined>> = {
  'in memory': async () => ({}),
  'in memory shared by threads': async () => ({ buckets: createSharedBuckets(1_000) }),
  'in Redis': async t => {
    const redis = await redisServer(t)
    if (redis === undefined) return undefined
    const client = new Redis(redis.url)
    t.after(() => client.disconnect())
    await once(client, 'ready')
    return { redis: client }
  }
}
for (const [where, limiter] of Object.entries(counters))
  test(`an installation beyond its burst is told to retry, and no other; an unknown sender, too (counted ${where})`, async t => {
    const deps = await limiter(t)
    if (deps === undefined) return
    const limits = { webhook: { ratePerSecond: 0.1, burst: 3 }, redisTimeout: 5_000, ...deps }
    const { app, kept, registry } = await server(t, {}, limits)
    const ask = async (installation: number, secret = SECRET) =>
      (await send(app, signed('push', pushBy(installation), { secret }))).statusCode
    const codes: number[] = []
    for (const id of [1, 1, 1, 1, 2]) codes.push(await ask(id))
    assert.deepEqual(codes, [202, 202, 202, 429, 202])
    const refused = await send(app, signed('push', pushBy(1), { secret: SECRET }))
    assert.equal(refused.statusCode, 429)
    assert.ok(Number(refused.headers['retry-after']) >= 1)
    assert.match(String(refused.headers.ratelimit), /^"webhook";r=0;/)
    assert.equal(kept.size, 4)
    assert.equal((await counted(registry))['github limited'], 2)

    const strangers: number[] = []
    for (let time = 0; time < 5; time++) strangers.push(await ask(1, 'wrong'))
    assert.deepEqual([...strangers, await ask(2)], [401, 401, 401, 429, 429, 202])
  })

test('it works with another rate limiter', async t => {
  const { app } = await server(t)
  assert.equal((await send(app, signed('push', pushBy(1), { secret: SECRET }))).statusCode, 202)
})

test('while the platform is closed, deliveries are accepted as usual', async t => {
  const app: FastifyInstance = Fastify()
  t.after(() => app.close())
  const store = memoryStore()
  await app.register(errorsPlugin)
  await app.register(maintenance, { authorize: () => true })
  await app.register(webhooks, { sources: [githubSource({ secrets: [SECRET] })], store })
  app.get('/', async () => 'served')
  await app.inject({ method: 'POST', url: '/admin/maintenance', payload: { enabled: true } })
  assert.equal((await app.inject('/')).statusCode, 503)
  assert.equal((await send(app, signed('push', pushBy(1), { secret: SECRET }))).statusCode, 202)
  assert.equal(store.kept.size, 1)
})

test('no webhook is lost while the database is down: it is refused, and accepted when redelivered', async t => {
  const proxy = await tcpProxy(t, await freshDatabase(t))
  const app: FastifyInstance = Fastify()
  t.after(() => app.close())
  await app.register(errorsPlugin)
  await app.register(database, { url: proxy.url })
  const sent: object[] = []
  const jobs = { send: async (_tx: unknown, _queue: string, data: object) => String(sent.push(data)) }
  const store = deliveryStore(
    () => app.db,
    () => jobs
  )
  await app.register(webhooks, { sources: [githubSource({ secrets: [SECRET] })], store })
  await app.ready()
  const delivery = signed('push', pushBy(1), { secret: SECRET })

  await proxy.stop()
  const refused = await send(app, delivery)
  assert.deepEqual([refused.statusCode, refused.json().error.code], [503, 'SERVICE_UNAVAILABLE'])
  assert.ok(Number(refused.headers['retry-after']) >= 1)
  assert.deepEqual(sent, [])

  await proxy.start()
  await eventually(
    () => send(app, delivery),
    ({ statusCode }) => statusCode === 202,
    10_000
  )
  assert.deepEqual((await send(app, delivery)).json(), { accepted: true, duplicate: true })
  const [{ payload } = {}] = await app.db.select().from(webhookDeliveries)
  assert.deepEqual(payload, delivery.payload)
  assert.deepEqual(sent, [{ source: 'github', deliveryId: delivery.headers['x-github-delivery'] }])
})

test('room for less than one body is refused at boot', async t => {
  await assert.rejects(() => server(t, { bodyLimit: 10, bytesInFlight: 9 }), /rhone-webhooks: option "bytesInFlight"/)
})

test('another source has its own route, signature and errors', async t => {
  const { app, kept } = await server(t, {
    sources: [
      githubSource({ secrets: [SECRET] }),
      {
        name: 'doorbell',
        isConfigured: true,
        isSigned: () => true,
        verify: (headers, body) => ({ deliveryId: String(body), event: String(headers['x-event']), account: 'none' })
      }
    ]
  })
  const reply = await app.inject({
    method: 'POST',
    url: '/webhooks/doorbell',
    headers: { 'x-event': 'ring' },
    payload: 'ding'
  })
  assert.equal(reply.statusCode, 202)
  assert.deepEqual(kept.get('ding'), {
    source: 'doorbell',
    deliveryId: 'ding',
    event: 'ring',
    payload: Buffer.from('ding')
  })
})

function head({ headers }: SignedDelivery, more: Record<string, string>): Buffer {
  const lines = Object.entries({ host: 'localhost', ...headers, ...more }).map(([name, value]) => `${name}: ${value}`)
  return Buffer.from(`POST ${PATH} HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`)
}

function chunk(bytes: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, Buffer.from('\r\n')])
}

async function open(port: number, bytes: Buffer): Promise<Socket> {
  const socket = connect(port, '127.0.0.1')
  socket.on('error', () => {})
  await once(socket, 'connect')
  socket.write(bytes)
  return socket
}

async function textOf(socket: Socket): Promise<string> {
  return Buffer.concat(await socket.toArray()).toString()
}
