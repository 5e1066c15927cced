import assert from 'node:assert/strict'
import { ServerResponse } from 'node:http'
import { type TestContext, test } from 'node:test'
import Fastify, { type FastifyInstance } from 'fastify'
import { pino } from 'pino'
import { TextHeadResponse } from '../../plugins/lib/response-head.ts'
import securityHeaders from '../../plugins/security-headers.ts'
import { quickHeads } from '../../src/kernel/quick-heads.ts'
import { exchange, listen } from '../support/raw-http.ts'

/** The header block that a server sends over the wire, and what it logged at boot. */
async function serve(t: TestContext, isWanted: boolean) {
  const lines: string[] = []
  const logger = pino({ level: 'warn' }, { write: line => void lines.push(line) })
  const http = quickHeads(isWanted, logger)
  const app = Fastify({ http }) as unknown as FastifyInstance
  t.after(() => app.close())
  await app.register(securityHeaders)
  app.get('/', () => 'ok')
  const [reply] = await exchange(await listen(app), 'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
  const { date: _date, ...headers } = reply!.headers
  return { headers, isQuick: http.ServerResponse === TextHeadResponse, lines }
}

/** Simulates a Node that assembles replies with another method. */
function withoutStoreHeader(t: TestContext): void {
  const { _storeHeader } = ServerResponse.prototype as unknown as { _storeHeader(): void }
  t.mock.method(TextHeadResponse.prototype, '_storeHeader', _storeHeader)
}

test('a Node that assembles replies differently sends the same headers, with a warning that it is slower', async t => {
  const usual = await serve(t, true)
  assert.deepEqual([usual.isQuick, usual.lines], [true, []])
  assert.equal(usual.headers['x-frame-options'], 'DENY')

  withoutStoreHeader(t)
  const other = await serve(t, true)
  assert.equal(other.isQuick, false)
  assert.deepEqual(other.headers, usual.headers)
  assert.match(other.lines.join(), /using its slower standard way/)
})

test('the shortcut can be switched off, and the headers are the same', async t => {
  const on = await serve(t, true)
  const off = await serve(t, false)
  assert.deepEqual([off.isQuick, off.lines], [false, []])
  assert.deepEqual(off.headers, on.headers)
})
