import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type TestContext, test } from 'node:test'
import { testApp } from '../support/app.ts'
import { exchange, listen, type RawReply } from '../support/raw-http.ts'
import { redisServer } from '../support/redis.ts'

const ORIGIN = 'https://console.example.com'
const preflight = `origin: ${ORIGIN}\r\naccess-control-request-method: GET\r\n`

/** Every kind of anonymous request, and its status within the limit. */
const KINDS = [
  ['GET /api/v1/ping HTTP/1.1', '', 200],
  ['HEAD /api/v1/ping HTTP/1.1', '', 200],
  ['GET /api/v1/regions HTTP/1.1', '', 200],
  ['GET /api/v1/apps HTTP/1.1', '', 401],
  ['GET /nowhere HTTP/1.1', '', 404],
  ['PATCH /api/v1/ping HTTP/1.1', '', 405],
  ['OPTIONS /api/v1/ping HTTP/1.1', preflight, 204],
  ['GET /api/v1/apps/%ff HTTP/1.1', '', 400],
  ['GET /api/v1/ping HTTP/1.1', 'x-forwarded-for: 9.9.9.9\r\nfly-client-ip: 9.9.9.9\r\n', 200],
  ['GET', '', 400]
] as const
const EXEMPT = ['/health', '/ready', '/metrics'] as const

async function send(port: number, line: string, headers: string): Promise<RawReply> {
  const [reply] = await exchange(port, `${line}\r\nhost: localhost\r\nconnection: close\r\n${headers}\r\n`)
  assert.ok(reply, line)
  return reply
}

const limited = { RATE_LIMIT_GENERAL: `1/h:${KINDS.length}`, CORS_ORIGINS: ORIGIN }

/** A server that has answered every kind of request once. */
async function exhausted(t: TestContext, variables: Record<string, string>): Promise<number> {
  const { app } = await testApp(t, { ...limited, ...variables })
  if (app.hasDecorator('redis') && app.redis.status !== 'ready') await once(app.redis, 'ready')
  const port = await listen(app)
  for (const [line, headers, status] of KINDS) {
    const reply = await send(port, line, headers)
    assert.equal(reply.statusCode, status, line)
    assert.match(reply.headers.ratelimit ?? '', /^"general";r=\d+;t=\d+$/, line)
  }
  return port
}

async function refusesAll(port: number): Promise<void> {
  for (const [line, headers] of KINDS) {
    const reply = await send(port, line, headers)
    assert.equal(reply.statusCode, 429, line)
    assert.ok(Number(reply.headers['retry-after']) > 3_500, line)
    assert.match(reply.headers.ratelimit ?? '', /^"general";r=0;t=3[56]\d\d$/, line)
  }
  for (const path of EXEMPT) assert.equal((await send(port, `GET ${path} HTTP/1.1`, '')).statusCode, 200, path)
}

test('all requests of a client share one quota; probes and scrapes are exempt', async t => {
  await refusesAll(await exhausted(t, {}))
})

test('it is one quota over Redis, too, and stays exhausted when Redis hangs', async t => {
  const redis = await redisServer(t)
  if (redis === undefined) return
  const port = await exhausted(t, { REDIS_URL: redis.url })
  await refusesAll(port)
  redis.process.kill('SIGSTOP')
  await refusesAll(port)
  redis.process.kill('SIGCONT')
})
