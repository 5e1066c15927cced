import assert from 'node:assert/strict'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import postgres from 'postgres'
import { identify } from '../../plugins/lib/processes.ts'
import { keepAsking, type Outcome } from '../support/clients.ts'
import { freshDatabase } from '../support/database.ts'
import { eventually, launchServer, startServer } from '../support/process.ts'

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
    const outcomes = Array.from({ length: 8 }, (): Outcome => ({ statuses: [], cutOff: [] }))
    const asking = keepAsking(port, outcomes)
    await eventually(
      () => outcomes.every(({ statuses }) => statuses.length >= 10),
      isUnderLoad => isUnderLoad
    )
    child.kill(signal)

    await asking
    assert.equal(await exited, 0)
    for (const { statuses, cutOff } of outcomes) {
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
  const { child, port, url, exited, logs } = await server(t)
  const slowloris = connect(port, '127.0.0.1').on('error', () => {})
  t.after(() => slowloris.destroy())
  await once(slowloris, 'connect')
  slowloris.write('GET /api/v1/ping HTTP/1.1\r\nHost: a\r\nX-Slow: ')
  await fetch(`${url}/health`) // connections are accepted in order, so the server has the other one by now
  child.kill('SIGTERM')
  assert.equal(await exited, 0)
  assert.ok(!logs().some(({ phase }) => phase === 'deadline'), 'it did not take the deadline to get rid of it')
})

test('a second signal ends the process at once', async t => {
  const { child, exited, logs } = await server(t, { DRAIN_GRACE: '20' })
  const impatience = setInterval(() => child.kill('SIGTERM'), 100)
  t.after(() => clearInterval(impatience))
  assert.equal(await exited, 1)
  const messages = logs().map(({ msg }) => msg)
  assert.equal(messages.at(-1), 'second signal, exiting at once')
})

test('a signal that comes twice within a moment, as from Ctrl-C under npm, is one signal', async t => {
  const { child, exited } = await server(t)
  child.kill('SIGINT')
  child.kill('SIGINT')
  child.kill('SIGTERM')
  assert.equal(await exited, 0)
})

test('a fault that nothing catches is logged, and the process ends in order with 1', async t => {
  const { url, exited, logs } = await server(t, { RHONE_SWAP: 'cors=./test/fixtures/swaps/time-bomb.ts' })
  assert.equal((await fetch(`${url}/bomb`)).status, 200)
  assert.equal(await exited, 1)
  const messages = logs().map(({ level, msg }) => `${level} ${msg}`)
  assert.ok(messages.includes('fatal uncaught exception'))
  assert.deepEqual(messages.slice(-2), ['info drain: closed', 'info stopped'])
})

test('a fault on the way out does not cut off what is being finished', async t => {
  const { child, url, exited, logs } = await server(t, {
    RHONE_SWAP: 'cors=./test/fixtures/swaps/time-bomb.ts',
    DRAIN_GRACE: '2'
  })
  child.kill('SIGTERM')
  await eventually(
    () => fetch(`${url}/ready`),
    reply => reply.status === 503
  )
  assert.equal((await fetch(`${url}/bomb`)).status, 200)
  assert.equal(await exited, 1)
  const messages = logs().map(({ level, msg }) => `${level} ${msg}`)
  assert.ok(messages.includes('fatal uncaught exception'))
  assert.deepEqual(messages.slice(-2), ['info drain: closed', 'info stopped'])
})

test('a signal in the middle of the start leaves no PostgreSQL behind', async t => {
  const path = await mkdtemp(join(tmpdir(), 'rhone-shutdown-'))
  t.after(() => rm(path, { recursive: true, force: true }))
  const { child, exited } = launchServer(t, { DATA_DIR: path })
  const pidFile = join(path, 'postgres/data/postmaster.pid')
  const readPid = () => (existsSync(pidFile) ? Number.parseInt(readFileSync(pidFile, 'utf8'), 10) : 0)
  let pid = 0
  while (!(pid > 0)) {
    pid = readPid()
    await new Promise(setImmediate)
  }
  child.kill('SIGTERM')
  assert.equal(await exited, 0)
  assert.equal(identify(pid), null)
})

test('a start that waits for another instance to migrate can be stopped', async t => {
  const url = await freshDatabase(t)
  const path = await mkdtemp(join(tmpdir(), 'rhone-shutdown-'))
  t.after(() => rm(path, { recursive: true, force: true }))
  const other = postgres(url, { max: 1 })
  t.after(() => other.end({ timeout: 1 }))
  await other`select pg_advisory_lock(7266911473001)`

  const { child, exited, logs } = launchServer(t, { DATABASE_URL: url, DATA_DIR: path })
  await eventually(
    () => other`select from pg_stat_activity where datname = current_database() and application_name = 'rhone-migrate'`,
    sessions => sessions.length > 0
  )
  child.kill('SIGTERM')
  assert.equal(await exited, 0)
  assert.equal(logs().at(-1)?.msg, 'stopped')
})

test('whoever closes the pipe that the server speaks into does not end it', async t => {
  const path = await mkdtemp(join(tmpdir(), 'rhone-shutdown-'))
  t.after(() => rm(path, { recursive: true, force: true }))
  const { child, exited, logs } = launchServer(t, { DATABASE_URL: await freshDatabase(t), DATA_DIR: path })
  child.stderr!.destroy()
  const ready = await eventually(
    () => logs().find(({ msg }) => msg === 'ready'),
    line => line !== undefined
  )
  assert.equal((await fetch(`${ready!.url}/api/v1/ping`)).status, 200)
  child.kill('SIGTERM')
  assert.equal(await exited, 0)
})
