import assert from 'node:assert/strict'
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { replyHeaders, requestHeaders, slugOf } from '../../integrations/deployer/local/runner/headers.ts'
import { levelOf } from '../../integrations/deployer/local/runner/levels.ts'
import { AppLog, LineSplitter } from '../../integrations/deployer/local/runner/log.ts'
import { Meter } from '../../integrations/deployer/local/runner/meter.ts'
import { claimUser, releaseUser } from '../../integrations/deployer/local/runner/users.ts'

const line = (message: string) => ({ deploymentId: 'd', level: 'info', source: 'app', instance: '1', message }) as const
const messages = (entries: readonly object[]) =>
  entries.map(entry => ('dropped' in entry ? `(${entry.dropped} dropped)` : (entry as { message: string }).message))

test('a log keeps the newest lines, and reports to a late reader how many it missed', () => {
  let now = 0
  const log = new AppLog(() => now)
  for (let i = 1; i <= 1_500; i++) {
    now += 10
    log.add(line(`line ${i}`))
  }
  assert.deepEqual(messages(log.after(0, 2)), ['(500 dropped)', 'line 501', 'line 502'])
  assert.deepEqual(messages(log.after(1_498, 10)), ['line 1499', 'line 1500'])
  assert.deepEqual(messages(log.after(1_500, 10)), [])
  assert.deepEqual(log.tail('d', 2), ['line 1499', 'line 1500'])
  assert.deepEqual(log.tail('other', 2), [])
})

test('a log limits the number of characters that it keeps', () => {
  let now = 0
  const log = new AppLog(() => now)
  for (let i = 0; i < 200; i++) {
    now += 1_000
    log.add(line('x'.repeat(16_000)))
  }
  assert.equal(log.after(0, 1_000).length, 1 + 62)
})

test('a log drops lines above its rate, and reports the number once there is room', () => {
  let now = 0
  const log = new AppLog(() => now)
  let taken = 0
  for (let i = 0; i < 5_000; i++) if (log.add(line('x'))) taken += 1
  assert.ok(taken > 1_900 && taken <= 2_000, String(taken))
  assert.ok(log.add({ ...line('the app has ended'), source: 'system' }), 'what we say is never dropped')
  now += 1_000
  assert.ok(log.add(line('y')))
  assert.deepEqual(messages(log.after(taken, 10)), [
    `${5_000 - taken} lines were dropped: an app may log 500 per second.`,
    'the app has ended',
    'y'
  ])
})

test('lines are assembled from chunks of any size, up to a maximum length', () => {
  const lines: string[] = []
  const splitter = new LineSplitter(text => lines.push(text))
  const fox = Buffer.from('🦊 a\r\n\n \nb')
  for (const byte of fox) splitter.write(Buffer.from([byte]))
  for (let i = 0; i < 100; i++) splitter.write(Buffer.alloc(1_000, 'y'))
  splitter.write(Buffer.from('\nlast'))
  splitter.end()
  assert.deepEqual(
    lines.map(text => [text.slice(0, 4), text.length]),
    [
      ['🦊 a', 4],
      ['byyy', 16_384],
      ['last', 4]
    ]
  )
})

test('a line has the level that it names, on stdout and stderr', () => {
  for (const [text, level] of [
    ['{"level":"WARN"}', 'warn'],
    ['{"level":"fatal"}', 'error'],
    ['{"level":10}', 'debug'],
    ['{"level":30}', 'info'],
    ['{"level":60}', 'error'],
    ['{"level":"constructor"}', 'info'],
    ['{"level":null}', 'info'],
    ['{"level', 'info'],
    ['{"severity":"ERROR","message":"as Google has it"}', 'error'],
    ['ts=2026 level=error msg="logfmt"', 'error'],
    ['INFO:root:as Python has it', 'info'],
    ['WARNING:root:as Python has it', 'warn'],
    ['[error] 12#12: as nginx has it', 'error'],
    ['2026-01-01 12:00:00,123 ERROR something', 'error'],
    ['TypeError: x is not a function', 'error'],
    ['Traceback (most recent call last):', 'error'],
    ['panic: runtime error', 'error'],
    ['warning signs were painted', 'info'],
    ['no error was found', 'info'],
    ['oh no', 'info'],
    ['', 'info']
  ] as const)
    assert.equal(levelOf(text), level, text)
})

test('a line that is redrawn with carriage returns keeps its last state', () => {
  const lines: string[] = []
  const splitter = new LineSplitter(text => lines.push(text))
  splitter.write(Buffer.from('10%\r50%\r100%\ndone\r\nReady, waiting '))
  assert.ok(splitter.hasRest)
  splitter.flush()
  assert.ok(!splitter.hasRest)
  splitter.end()
  assert.deepEqual(lines, ['100%', 'done', 'Ready, waiting '])
})

test('rates cover the last minute, totals everything', () => {
  let now = 0
  const meter = new Meter(() => now)
  assert.deepEqual(meter.read().requests, { total: 0, perSec: 0, avgLatencyMs: 0, errorRate: 0 })
  for (let second = 0; second < 120; second++) {
    now = second * 1_000
    meter.count(second < 60 ? 500 : 200, 20)
    meter.countBytes(100, 200)
  }
  const { requests, network } = meter.read()
  assert.deepEqual(requests, { total: 120, perSec: 1, avgLatencyMs: 20, errorRate: 0 })
  assert.deepEqual(network, { bytesInPerSec: 100, bytesOutPerSec: 200 })
  now = 600_000
  assert.equal(meter.read().requests.perSec, 0)
})

test('only the whole host name selects an app', () => {
  for (const host of ['shop.localhost', 'SHOP.LOCALHOST:8090', 'shop.localhost.', 'shop.localhost.:1'])
    assert.equal(slugOf(host), 'shop', host)
  for (const host of [
    undefined,
    '',
    'localhost',
    '.localhost',
    'a.b.localhost',
    'shop.localhost.evil',
    'shop-.localhost'
  ])
    assert.equal(slugOf(host), null, host)
})

test('hop-by-hop headers are not forwarded, nor any that Connection names', () => {
  const message = (rawHeaders: string[], more: object = {}) => ({
    rawHeaders,
    headers: Object.fromEntries(
      rawHeaders.flatMap((name, at) => (at % 2 === 0 ? [[name.toLowerCase(), rawHeaders[at + 1]]] : []))
    ),
    url: '/',
    socket: { remoteAddress: '::1' },
    ...more
  })
  const request = message([
    'Host',
    'a.localhost',
    'Connection',
    'Content-Length, X-A',
    'Content-Length',
    '3',
    'X-A',
    '1'
  ])
  assert.deepEqual(requestHeaders(request as never, false), [
    ...['Content-Length', '3', 'Host', 'a.localhost', 'X-Forwarded-For', '::1', 'X-Forwarded-Host', 'a.localhost'],
    ...['X-Forwarded-Proto', 'http', 'Connection', 'keep-alive']
  ])
  const reply = message(['Keep-Alive', 'timeout=5', 'Set-Cookie', 'a', 'Set-Cookie', 'b'], { statusCode: 200 })
  assert.deepEqual(replyHeaders(reply as never), ['Set-Cookie', 'a', 'Set-Cookie', 'b'])
})

test('two apps of a machine never share a user at the same time, even with different runners', async t => {
  const root = await mkdtemp(join(tmpdir(), 'rhone-users-'))
  t.after(() => rm(root, { recursive: true, force: true }))
  const [register, one, other] = [join(root, 'register'), join(root, 'one'), join(root, 'other')]
  const uid = process.geteuid!()
  for (const home of [one, other]) await mkdir(home)
  assert.equal(claimUser(uid, one, register), true)
  assert.equal(claimUser(uid, one, register), true)
  assert.equal(claimUser(uid, other, register), false)
  releaseUser(uid, other, register)
  assert.equal(claimUser(uid, other, register), false, 'only who has it gives it back')
  await rm(one, { recursive: true })
  assert.equal(claimUser(uid, other, register), true)
  releaseUser(uid, other, register)
  assert.deepEqual(await readdir(register), [])
})
