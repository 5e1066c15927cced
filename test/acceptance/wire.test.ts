import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { isDeepStrictEqual } from 'node:util'
import { Validator } from '@seriousme/openapi-schema-validator'
import { freshDatabase } from '../support/database.ts'
import { eventually } from '../support/eventually.ts'
import { exchange, type RunningServer, startServer } from '../support/process.ts'

/** The header block of every reply. */
const BLOCK: Readonly<Record<string, string>> = {
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'permissions-policy': 'geolocation=(), microphone=(), camera=(), payment=(), usb=()',
  'referrer-policy': 'strict-origin-when-cross-origin',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'x-xss-protection': '0',
  'cache-control': 'no-store'
}

interface Reply {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

function parse(text: string): Reply {
  const [head = '', ...rest] = text.split('\r\n\r\n')
  const [first = '', ...lines] = head.split('\r\n')
  const headers = lines.map(line => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 2)])
  return { status: Number(first.split(' ')[1]), headers: Object.fromEntries(headers), body: rest.join('\r\n\r\n') }
}

const request = (line: string, ...headers: string[]) =>
  [line, 'Host: rhone', 'Connection: close', ...headers, '', ''].join('\r\n')

test('the wire', async t => {
  const directory = await mkdtemp(join(tmpdir(), 'rhone-wire-'))
  t.after(() => rm(directory, { recursive: true, force: true }))
  const server: RunningServer = await startServer(t, {
    DATABASE_URL: await freshDatabase(t),
    DATA_DIR: directory,
    CORS_ORIGINS: 'https://console.example.com',
    RATE_LIMIT_STRICT: '1/m:2',
    RATE_LIMIT_GENERAL: '100000/s:100000',
    RHONE_SWAP: 'pressure=off,connections=./test/fixtures/swaps/impatient.ts'
  })

  const send = async (bytes: string) => parse(await exchange(server.port, bytes))
  const scrape = async () => (await fetch(`${server.url}/metrics`)).text()

  // Aborted after a few seconds, in parallel with the rest of this file.
  const neverEnding = exchange(
    server.port,
    request(
      'POST /api/v1/apps HTTP/1.1',
      `Authorization: Bearer ${server.token}`,
      'Content-Type: application/json',
      'Content-Length: 20'
    )
  )

  const refusals: Record<string, { bytes: string; status: number; code: string }> = {
    'a URL that cannot be decoded': { bytes: request('GET /%ff HTTP/1.1'), status: 400, code: 'BAD_REQUEST' },
    'a parameter of 301 characters': {
      bytes: request(`GET /api/v1/apps/${'a'.repeat(301)} HTTP/1.1`),
      status: 414,
      code: 'URI_TOO_LONG'
    },
    'headers of 100 kB': {
      bytes: request('GET / HTTP/1.1', `X-Big: ${'a'.repeat(100_000)}`),
      status: 431,
      code: 'BAD_REQUEST'
    },
    'both Transfer-Encoding and Content-Length': {
      bytes: `${request('POST /api/v1/apps HTTP/1.1', 'Content-Length: 4', 'Transfer-Encoding: chunked')}0\r\n\r\n`,
      status: 400,
      code: 'BAD_REQUEST'
    },
    'the method TRACE': { bytes: request('TRACE /api/v1/ping HTTP/1.1'), status: 405, code: 'METHOD_NOT_ALLOWED' },
    'a method nobody knows': { bytes: request('FROBNICATE / HTTP/1.1'), status: 400, code: 'BAD_REQUEST' },
    'a version nobody knows': { bytes: request('GET / HTTP/9.9'), status: 400, code: 'BAD_REQUEST' },
    'no Host': { bytes: 'GET /api/v1/ping HTTP/1.1\r\nConnection: close\r\n\r\n', status: 400, code: 'BAD_REQUEST' },
    'bytes that are no HTTP': { bytes: '\x16\x03\x01\x02\x00\r\n\r\n', status: 400, code: 'BAD_REQUEST' },
    'an unknown route': { bytes: request('GET /nowhere HTTP/1.1'), status: 404, code: 'NOT_FOUND' },
    'a known route with another method': {
      bytes: request('DELETE /api/v1/ping HTTP/1.1'),
      status: 405,
      code: 'METHOD_NOT_ALLOWED'
    },
    'no token': { bytes: request('GET /api/v1/apps HTTP/1.1'), status: 401, code: 'UNAUTHORIZED' },
    'a preflight from a foreign origin': {
      bytes: request(
        'OPTIONS /api/v1/apps HTTP/1.1',
        'Origin: https://evil.example',
        'Access-Control-Request-Method: GET'
      ),
      status: 403,
      code: 'FORBIDDEN'
    },
    'a body that is no JSON': {
      bytes: `${request('POST /api/v1/apps HTTP/1.1', `Authorization: Bearer ${server.token}`, 'Content-Type: application/json', 'Content-Length: 5')}{"a":`,
      status: 400,
      code: 'BAD_REQUEST'
    },
    'a body of another type': {
      bytes: `${request('POST /api/v1/apps HTTP/1.1', `Authorization: Bearer ${server.token}`, 'Content-Type: text/plain', 'Content-Length: 1')}x`,
      status: 415,
      code: 'UNSUPPORTED_MEDIA_TYPE'
    },
    'a body beyond the limit': {
      bytes: `${request('POST /api/v1/apps HTTP/1.1', `Authorization: Bearer ${server.token}`, 'Content-Type: application/json', 'Content-Length: 99999999')}`,
      status: 413,
      code: 'PAYLOAD_TOO_LARGE'
    }
  }

  for (const [what, { bytes, status, code }] of Object.entries(refusals))
    await t.test(`${what} gets ${status} with the envelope, the header block and a request id`, async () => {
      const reply = await send(bytes)
      assert.equal(reply.status, status)
      const { error } = JSON.parse(reply.body)
      assert.equal(error.code, code)
      assert.equal(error.requestId, reply.headers['x-request-id'])
      for (const [name, value] of Object.entries(BLOCK)) assert.equal(reply.headers[name], value, name)
    })

  await t.test('each of them was counted once', async () => {
    const statuses = Object.values(refusals).map(({ status }) => status)
    const sent = statuses.map(status => statuses.filter(other => other === status).length)
    await eventually(
      async () => {
        const metrics = await scrape()
        return statuses.map(status => total(metrics, status))
      },
      counted => isDeepStrictEqual(counted, sent)
    )
  })

  await t.test('parsed requests get RFC 9457 if they accept it', async () => {
    const unreadable = new Set([
      'headers of 100 kB',
      'both Transfer-Encoding and Content-Length',
      'a method nobody knows',
      'a version nobody knows',
      'bytes that are no HTTP'
    ])
    for (const [what, { bytes, status, code }] of Object.entries(refusals)) {
      if (unreadable.has(what)) continue
      const reply = await send(bytes.replace('\r\n', '\r\nAccept: application/problem+json\r\n'))
      assert.equal(reply.headers['content-type'], 'application/problem+json; charset=utf-8', what)
      const problem = JSON.parse(reply.body)
      assert.deepEqual([problem.status, problem.code], [status, code], what)
      assert.equal(problem.instance, reply.headers['x-request-id'], what)
    }
  })

  await t.test('replies of all other kinds carry the same header block', async () => {
    const closed = { authorization: `Bearer ${server.token}`, 'content-type': 'application/json' }
    const toggle = (enabled: boolean) =>
      fetch(`${server.url}/admin/maintenance`, { method: 'POST', headers: closed, body: JSON.stringify({ enabled }) })
    const replies = [
      await fetch(`${server.url}/api/v1/ping`),
      await fetch(`${server.url}/health`),
      await fetch(`${server.url}/api/v1/apps`, {
        method: 'OPTIONS',
        headers: { origin: 'https://console.example.com', 'access-control-request-method': 'GET' }
      }),
      await toggle(true),
      await fetch(`${server.url}/api/v1/apps`),
      await toggle(false),
      await toggle(false)
    ]
    assert.deepEqual(
      replies.map(({ status }) => status),
      [200, 200, 204, 200, 503, 200, 429]
    )
    for (const reply of replies)
      for (const [name, value] of Object.entries(BLOCK))
        assert.equal(reply.headers.get(name), value, `${reply.status} ${name}`)
    assert.equal(replies[4]!.headers.get('retry-after'), '300')
    assert.ok(Number(replies[6]!.headers.get('retry-after')) > 30, 'as long as the limit really lasts')
  })

  await t.test('the OpenAPI 3.1 description passes an independent validator', async () => {
    const document = (await (await fetch(`${server.url}/openapi.json`)).json()) as Record<string, unknown>
    const validator = new Validator()
    assert.deepEqual(await validator.validate(document), { valid: true })
    assert.equal(validator.version, '3.1')
  })

  await t.test('only the API is open to scripts of other origins', async () => {
    const headers = { origin: 'https://console.example.com' }
    const grant = async (path: string) =>
      (await fetch(server.url + path, { headers })).headers.get('access-control-allow-origin')
    assert.equal(await grant('/api/v1/ping'), 'https://console.example.com')
    for (const path of ['/health', '/ready', '/health/detailed', '/metrics', '/docs', '/openapi.json'])
      assert.equal(await grant(path), null, path)
  })

  await t.test('a thousand URLs add no series to the metrics', async () => {
    const isComplete = (metrics: string) => total(metrics, 429) === 1 && metrics.includes('path="/docs",status="200"')
    const before = await eventually(scrape, isComplete)
    for (let sent = 0; sent < 1_000; sent += 20)
      await Promise.all(
        Array.from({ length: 20 }, (_, index) =>
          fetch(`${server.url}/random/${sent + index}/${Math.random()}`).then(reply => reply.text())
        )
      )
    const after = await eventually(scrape, metrics => total(metrics, 404) >= total(before, 404) + 1_000)
    assert.deepEqual(seriesOf(after), seriesOf(before))
  })

  await t.test('a body that never arrives gets 408', async () => {
    const reply = parse(await neverEnding)
    assert.equal(reply.status, 408)
    assert.equal(JSON.parse(reply.body).error.code, 'BAD_REQUEST')
    for (const [name, value] of Object.entries(BLOCK)) assert.equal(reply.headers[name], value, name)
  })
})

/** The series about requests, without those of the body that is abandoned while the others are sent. */
function seriesOf(metrics: string): string[] {
  const series = metrics.split('\n').map(line => line.slice(0, line.lastIndexOf(' ')))
  return series.filter(name => name.startsWith('rhone_http_') && !name.includes('status="408"')).sort()
}

/** Requests that were answered with a status, on all routes. */
function total(metrics: string, status: number): number {
  const lines = metrics.matchAll(
    new RegExp(`^rhone_http_requests_total\\{[^}]*status="${status}"[^}]*\\} (\\d+)$`, 'gm')
  )
  return [...lines].reduce((sum, [, count]) => sum + Number(count), 0)
}
