import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import routes, { type RoutesOptions } from '../../routes/index.ts'
import type { PluginModule } from '../../src/slots.ts'
import { testApp } from '../support/app.ts'
import { exchange, listen } from '../support/raw-http.ts'

/** The routes, plus one that fails before the request is complete. */
const failing = fp(async (app: FastifyInstance, options: RoutesOptions) => {
  await app.register(routes, options)
  app.get('/fails', { config: { access: 'public', priority: 'normal', slo: 'detail' } as never }, () => {
    throw new TypeError('broken')
  })
})

const { app, token } = await testApp({ after } as never, {}, { routes: failing as unknown as PluginModule })
const port = await listen(app)

/** Sends a request that announces no body, and reads the reply: without one, the connection would stay open. */
async function statusOf(method: string, path: string, ...headers: string[]): Promise<number> {
  const head = [`${method} ${path} HTTP/1.1`, 'Host: localhost', `Authorization: Bearer ${token}`, ...headers]
  const [reply] = await exchange(port, `${head.join('\r\n')}\r\nConnection: close\r\n\r\n`)
  return reply!.statusCode
}

const JSON_TYPE = 'Content-Type: application/json'
const FORM_TYPE = 'Content-Type: application/x-www-form-urlencoded'
const ARCHIVE_TYPE = 'Content-Type: application/gzip'

test('a request that names a content type but has no body is answered', async () => {
  assert.equal(await statusOf('POST', '/api/v1/apps', JSON_TYPE), 400)
  assert.equal(await statusOf('PATCH', '/api/v1/apps/none', JSON_TYPE), 400)
  assert.equal(await statusOf('DELETE', '/api/v1/apps/none', JSON_TYPE), 404)
  assert.equal(await statusOf('GET', '/api/v1/ping', JSON_TYPE), 200)
  assert.equal(await statusOf('POST', '/nowhere', JSON_TYPE), 404)
  assert.equal(await statusOf('POST', '/api/v1/apps', ARCHIVE_TYPE), 415)
  assert.ok((await statusOf('POST', '/login', FORM_TYPE)) >= 400)
  assert.ok((await statusOf('POST', '/webhooks/github', JSON_TYPE)) >= 400)
})

test('a request without a content type and without a body is answered', async () => {
  assert.equal(await statusOf('POST', '/api/v1/apps'), 400)
  assert.equal(await statusOf('DELETE', '/api/v1/apps/none'), 404)
})

test('an upload that announces no body is answered, and leaves the server as it was', async () => {
  const created = await app.inject({
    method: 'POST',
    url: '/api/v1/apps',
    headers: { authorization: `Bearer ${token}` },
    payload: { name: 'uploaded' }
  })
  assert.equal(created.statusCode, 201)
  const status = await statusOf('POST', `/api/v1/apps/${created.json().slug}/deployments`, ARCHIVE_TYPE)
  assert.ok(status >= 400 && status < 500, String(status))
  assert.equal(await statusOf('GET', '/api/v1/ping'), 200)
})

test('a body in chunks, even none of them, is read as before', async () => {
  const chunked = (chunks: string) =>
    exchange(
      port,
      `POST /api/v1/apps HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${token}\r\n${JSON_TYPE}\r\n` +
        `Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n${chunks}0\r\n\r\n`
    )
  const body = '{"name":"in-chunks"}'
  assert.equal((await chunked(`${body.length.toString(16)}\r\n${body}\r\n`))[0]!.statusCode, 201)
  assert.equal((await chunked(''))[0]!.statusCode, 400)
})

test('the failure of a request without a body is the server’s, not an aborted request', async () => {
  assert.equal(await statusOf('GET', '/fails'), 500)
})
