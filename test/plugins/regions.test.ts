import assert from 'node:assert/strict'
import type { AddressInfo } from 'node:net'
import { suite, type TestContext, test } from 'node:test'
import Fastify, { type FastifyInstance } from 'fastify'
import errors from '../../plugins/errors/index.ts'
import { randomKeyring } from '../../plugins/lib/signer.ts'
import regions, { type Copies, type RegionsDeps, type RegionsOptions } from '../../plugins/regions/index.ts'
import { positionTokens } from '../../plugins/regions/position.ts'
import { emptyBodies } from '../../src/kernel/empty-body.ts'

const keys = randomKeyring()
const here = { timeline: 3, lsn: 0x1_0000_00ffn }

/** Copies that only record their calls. */
function copiesIn(role: Copies['role']) {
  const readings: unknown[] = []
  const heard: number[] = []
  const copies: Copies = {
    role,
    position: async () => here,
    observe: ({ timeline }) => void heard.push(timeline),
    within(reading, body) {
      readings.push(reading)
      body()
    }
  }
  return { copies, readings, heard }
}

async function server(t: TestContext, options: Partial<RegionsOptions> & RegionsDeps): Promise<FastifyInstance> {
  const app = Fastify({ http: emptyBodies })
  await app.register(errors)
  await app.register(regions, { keys, secure: false, ...options })
  app.get('/things', async () => ({ made: 'here' }))
  app.post('/things', async request => ({ made: 'here', body: request.body ?? null }))
  app.delete('/things', async () => ({ made: 'here' }))
  app.get('/enter', async (_request, reply) => reply.redirect('/things', 303))
  t.after(() => app.close())
  await app.ready()
  return app
}

const post = (app: FastifyInstance, headers: Record<string, string> = {}, payload: object = { a: 1 }) =>
  app.inject({ method: 'POST', url: '/things', headers, payload })

suite('near the primary', () => {
  test('changes are made here, and their position is given to the client, signed', async t => {
    const app = await server(t, { copies: copiesIn('primary').copies })
    const { headers, body } = await post(app)
    assert.match(body, /here/)
    const token = String(headers['x-database-position'])
    assert.deepEqual(positionTokens(keys).read(token), here)
    assert.equal(headers['set-cookie'], `rhone_position=${token}; Path=/; Max-Age=60; HttpOnly; SameSite=Lax`)
    assert.equal((await app.inject('/things')).headers['x-database-position'], undefined)
    assert.ok((await app.inject('/enter')).headers['x-database-position'], 'a sign-in ends with a redirect')
  })

  test('a position reports a promotion, unless it is forged', async t => {
    const { copies, heard } = copiesIn('primary')
    const app = await server(t, { copies })
    const token = positionTokens(keys).make({ timeline: 9, lsn: 1n })
    await app.inject({ url: '/things', headers: { 'x-database-position': token } })
    assert.deepEqual(heard, [9])
    for (const forged of [token.replace('9-', '99-'), `${token}x`, '9-1', '', 'é', '9'.repeat(9_000)])
      await app.inject({ url: '/things', headers: { cookie: `rhone_position=${encodeURIComponent(forged)}` } })
    assert.deepEqual(heard, [9])
  })

  test('a change with an unknown position is still answered', async t => {
    const copies = { ...copiesIn('primary').copies, position: () => Promise.reject(new Error('gone')) }
    assert.equal((await post(await server(t, { copies }))).statusCode, 200)
  })
})

suite('near a replica', () => {
  test('reads require the position that the client brings', async t => {
    const { copies, readings } = copiesIn('replica')
    const app = await server(t, {
      copies,
      mayBeOld: request => request.query !== undefined && request.url.endsWith('?old')
    })
    const cookie = `rhone_position=${positionTokens(keys).make(here)}`
    await app.inject({ url: '/things', headers: { cookie } })
    await app.inject('/things?old')
    assert.deepEqual(readings, [
      { position: here, mayBeOld: false },
      { position: null, mayBeOld: true }
    ])
  })

  const onFly = { region: 'fra', primaryRegion: 'iad' }

  test('Fly replays changes in the region of the primary', async t => {
    const { statusCode, headers, body } = await post(await server(t, { ...onFly, copies: copiesIn('replica').copies }))
    assert.equal(statusCode, 409)
    assert.equal(headers['fly-replay'], 'region=iad;timeout=2s;fallback=force_self')
    assert.equal(headers['x-database-position'], undefined)
    assert.equal(body, '')
  })

  test('a failed replay is refused, and an arrived one is handled here', async t => {
    const app = await server(t, { ...onFly, copies: copiesIn('replica').copies })
    const failed = await post(app, { 'fly-replay-failed': 'region=iad' })
    assert.equal(failed.statusCode, 503)
    assert.match(failed.body, /The primary region cannot be reached/)
    assert.match((await post(app, { 'fly-replay-src': 'instance=1;region=ams' })).body, /here/)
  })

  test('a body that Fly does not replay is handled here, or forwarded', async t => {
    const large = { text: 'x'.repeat(1_000) }
    const app = await server(t, { ...onFly, replayLimit: 500, copies: copiesIn('replica').copies })
    assert.match((await post(app, {}, large)).body, /here/)
  })

  test('a change that announces no body is forwarded, too', async t => {
    const primary = Fastify()
    primary.delete('/things', async request => ({
      made: 'by the primary',
      length: request.headers['content-length'] ?? 0
    }))
    t.after(() => primary.close())
    const primaryUrl = await primary.listen({ host: '127.0.0.1', port: 0 })
    const app = await server(t, { primaryUrl, copies: copiesIn('replica').copies })
    const url = await app.listen({ host: '127.0.0.1', port: 0 })
    const answer = await fetch(`${url}/things`, { method: 'DELETE' })
    assert.deepEqual(await answer.json(), { made: 'by the primary', length: 0 })
  })

  test('changes are forwarded with their body and headers, and the answer is passed on', async t => {
    const primary = Fastify()
    primary.post('/things', async (request, reply) => {
      reply
        .code(201)
        .headers({ 'x-made-by': 'primary', 'x-database-position': 'its own', 'set-cookie': ['a=1', 'b=2'] })
      const { host, 'x-forwarded-for': from, 'x-rhone-forwarded': forwarded } = request.headers
      return { body: request.body, host, from, forwarded }
    })
    t.after(() => primary.close())
    await primary.listen({ host: '127.0.0.1', port: 0 })
    const primaryUrl = `http://127.0.0.1:${(primary.server.address() as AddressInfo).port}`
    const app = await server(t, { primaryUrl, copies: copiesIn('replica').copies })
    const answer = await post(app, { host: 'rhone.example.com', 'x-forwarded-for': '203.0.113.9' })
    assert.equal(answer.statusCode, 201)
    assert.equal(answer.headers['x-made-by'], 'primary')
    assert.deepEqual(answer.headers['set-cookie'], ['a=1', 'b=2'])
    assert.deepEqual(answer.json(), {
      body: { a: 1 },
      host: 'rhone.example.com',
      from: '203.0.113.9, 127.0.0.1',
      forwarded: '1'
    })
    assert.match((await post(app, { 'x-rhone-forwarded': '1' })).body, /here/)
  })

  test('a primary region that cannot be reached, or hangs, is a 503', async t => {
    const silent = Fastify()
    silent.post('/things', () => new Promise(() => {}))
    t.after(() => silent.close())
    await silent.listen({ host: '127.0.0.1', port: 0 })
    for (const port of [1, (silent.server.address() as AddressInfo).port]) {
      const primaryUrl = `http://127.0.0.1:${port}`
      const app = await server(t, { primaryUrl, forwardTimeout: 100, copies: copiesIn('replica').copies })
      const { statusCode, body } = await post(app)
      assert.equal(statusCode, 503, body)
    }
  })
})

test('without copies of the database the plugin adds nothing', async t => {
  const { headers } = await post(await server(t, {}))
  assert.equal(headers['x-database-position'], undefined)
  assert.equal(headers['set-cookie'], undefined)
})
