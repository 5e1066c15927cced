import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { keepAsking } from '../support/clients.ts'
import { freshDatabase } from '../support/database.ts'
import { eventually, startServer } from '../support/process.ts'

async function server(t: TestContext, env: Record<string, string> = {}) {
  const path = await mkdtemp(join(tmpdir(), 'rhone-shutdown-'))
  t.after(() => rm(path, { recursive: true, force: true }))
  return startServer(t, {
    DATABASE_URL: await freshDatabase(t),
    DATA_DIR: path,
    RATE_LIMIT_GENERAL: '100000/s:100000',
    ...env
  })
}

for (const signal of ['SIGTERM', 'SIGINT'] as const)
  test(`${signal} under load: every request that was accepted is answered, and the process ends with 0`, async t => {
    const { child, port, exited } = await server(t)
    const clients = keepAsking(port, 8)
    await new Promise(next => setTimeout(next, 300))
    child.kill(signal)

    const outcomes = await Promise.all(clients)
    assert.equal(await exited, 0)
    for (const { statuses, cutOff } of outcomes) {
      assert.ok(statuses.length > 0)
      assert.deepEqual(
        statuses.filter(status => status !== 200),
        []
      )
      assert.deepEqual(cutOff, [])
    }
  })

test('while it drains it is not ready, serves on, and says that the connection will close', async t => {
  const { child, url, exited } = await server(t, { DRAIN_GRACE: '2' })
  child.kill('SIGTERM')
  const ready = await eventually(
    () => fetch(`${url}/ready`),
    reply => reply.status === 503
  )
  assert.deepEqual(await ready.json(), { status: 'not_ready', reasons: ['draining'] })
  const served = await fetch(`${url}/api/v1/ping`)
  assert.equal(served.status, 200)
  assert.equal(served.headers.get('connection'), 'close')
  assert.equal(await exited, 0)
})

test('a client that never finishes its request does not hold up the end', async t => {
  const { child, port, exited } = await server(t)
  const slowloris = connect(port, '127.0.0.1').on('error', () => {})
  t.after(() => slowloris.destroy())
  slowloris.write('GET /api/v1/ping HTTP/1.1\r\nHost: a\r\nX-Slow: ')
  await new Promise(next => setTimeout(next, 200))
  const stopped = performance.now()
  child.kill('SIGTERM')
  assert.equal(await exited, 0)
  assert.ok(performance.now() - stopped < 20_000)
})

test('a second signal ends the process at once', async t => {
  const { child, exited } = await server(t, { DRAIN_GRACE: '60' })
  child.kill('SIGTERM')
  await new Promise(next => setTimeout(next, 800))
  child.kill('SIGTERM')
  assert.equal(await exited, 1)
})

test('a fault that nothing catches is logged, and the process ends in order with 1', async t => {
  const { url, exited, logs } = await server(t, { RHONE_SWAP: 'cors=./test/fixtures/swaps/time-bomb.ts' })
  assert.equal((await fetch(`${url}/bomb`)).status, 200)
  assert.equal(await exited, 1)
  const messages = logs().map(({ level, msg }) => `${level} ${msg}`)
  assert.ok(messages.includes('fatal uncaught exception'))
  assert.deepEqual(messages.slice(-2), ['info drain: closed', 'info stopped'])
})
