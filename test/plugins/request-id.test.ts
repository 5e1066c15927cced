import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import Fastify from 'fastify'
import requestId from '../../plugins/request-id.ts'

async function server(t: TestContext, options: object = {}) {
  const app = Fastify({ requestIdHeader: false })
  await app.register(requestId, options)
  app.get('/id', async request => ({ id: request.id }))
  app.get('/fails', async () => {
    throw new Error('on purpose')
  })
  t.after(() => app.close())
  return app
}

test('without the plugin no reply has a request id', async () => {
  const app = Fastify()
  app.get('/id', async () => ({}))
  assert.equal((await app.inject('/id')).headers['x-request-id'], undefined)
})

test('every reply carries the id that the handler saw, errors and unknown routes too', async t => {
  const app = await server(t)
  const reply = await app.inject('/id')
  assert.equal(reply.headers['x-request-id'], reply.json().id)
  for (const url of ['/fails', '/nowhere']) assert.ok((await app.inject(url)).headers['x-request-id'], url)
})

test('ids are short, harmless and never the same', async t => {
  const app = await server(t)
  const ids = new Set<string>()
  for (let i = 0; i < 500; i++) {
    const id = String((await app.inject('/id')).headers['x-request-id'])
    assert.match(id, /^[a-z0-9-]{1,24}$/)
    ids.add(id)
  }
  assert.equal(ids.size, 500)
})

test('two instances, or one after a restart, do not share ids', async t => {
  const prefix = async () => String((await (await server(t)).inject('/id')).headers['x-request-id']).split('-')[0]
  assert.notEqual(await prefix(), await prefix())
})

test('the id sent by a client is ignored', async t => {
  const app = await server(t)
  const { headers } = await app.inject({ url: '/id', headers: { 'x-request-id': 'mine', 'request-id': 'mine' } })
  assert.notEqual(headers['x-request-id'], 'mine')
})

test('a valid traceparent is answered with its trace id', async t => {
  const app = await server(t)
  const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
  const { headers } = await app.inject({ url: '/id', headers: { traceparent } })
  assert.equal(headers['x-trace-id'], '4bf92f3577b34da6a3ce929d0e0e4736')
})

test('an invalid traceparent is ignored', async t => {
  const app = await server(t)
  for (const traceparent of [
    '',
    'nonsense',
    '00-00000000000000000000000000000000-00f067aa0ba902b7-01',
    '00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01',
    '00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-011',
    '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7',
    `00-${'"<script>alert(1)</script>"'.padEnd(32, 'a')}-00f067aa0ba902b7-01`
  ])
    assert.equal(
      (await app.inject({ url: '/id', headers: { traceparent } })).headers['x-trace-id'],
      undefined,
      traceparent
    )
})

test('the header can have another name', async t => {
  const app = await server(t, Object.freeze({ header: 'request-id' }))
  const { headers } = await app.inject('/id')
  assert.ok(headers['request-id'])
  assert.equal(headers['x-request-id'], undefined)
})

test('an invalid header name fails the boot', async t => {
  await assert.rejects(server(t, { header: 'X Request' }), /rhone-request-id: option "header"/)
})
