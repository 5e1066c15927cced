import assert from 'node:assert/strict'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, type TestContext, test } from 'node:test'
import postgres from 'postgres'
import { identify } from '../../plugins/lib/processes.ts'
import { keepAsking, type Outcome } from '../support/clients.ts'
import { freshDatabase } from '../support/database.ts'
import { eventually } from '../support/eventually.ts'
import { launchServer, startServer } from '../support/process.ts'

/** Shared by the servers, which leave no conflicting state. */
const DATABASE_URL = await freshDatabase({ after })

async function directory(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'rhone-shutdown-'))
  t.after(() => rm(path, { recursive: true, force: true }))
  return path
}

async function server(t: TestContext, env: Record<string, string> = {}) {
  const path = await directory(t)
  return startServer(t, { DATABASE_URL, DATA_DIR: path, RATE_LIMIT_GENERAL: '100000/s:100000', ...env })
}

/** Clients that send requests continuously. `answered` resolves when the server accepts no more of them. */
async function underLoad(port: number): Promise<{ answered: Promise<Outcome[]> }> {
  const outcomes = Array.from({ length: 8 }, (): Outcome => ({ statuses: [], cutOff: [] }))
  const asking = keepAsking(port, outcomes)
  await eventually(
    () => outcomes.every(({ statuses }) => statuses.length >= 10),
    isUnderLoad => isUnderLoad
  )
  return { answered: asking.then(() => outcomes) }
}

function assertAllAnswered(outcomes: readonly Outcome[]): void {
  for (const { statuses, cutOff } of outcomes) {
    assert.deepEqual(
      statuses.filter(status => status !== 200),
      []
    )
    assert.deepEqual(cutOff, [])
  }
}

test('SIGTERM under load', async t => {
  const { child, port, url, exited, logs } = await server(t)
  const { answered } = await underLoad(port)
  const slowloris = connect(port, '127.0.0.1').on('error', () => {})
  t.after(() => slowloris.destroy())
  await once(slowloris, 'connect')
  slowloris.write('GET /api/v1/ping HTTP/1.1\r\nHost: a\r\nX-Slow: ')
  await fetch(`${url}/health`) // connections are accepted in order, so the server has the other one by now
  child.kill('SIGTERM')

  await t.test('every accepted request is answered, and the process exits with 0', async () => {
    assertAllAnswered(await answered)
    assert.equal(await exited, 0)
  })

  await t.test('a client that never finishes its request does not delay the exit', () => {
    assert.ok(!logs().some(({ phase }) => phase === 'deadline'), 'it was closed before the deadline')
  })
})

test('two SIGINTs within a moment, as from Ctrl-C under npm, count as one', async t => {
  const { child, port, exited } = await server(t)
  const { answered } = await underLoad(port)
  child.kill('SIGINT')
  child.kill('SIGINT')
  child.kill('SIGTERM')

  await t.test('every accepted request is answered, and the process exits with 0', async () => {
    assertAllAnswered(await answered)
    assert.equal(await exited, 0)
  })
})

test('a server with an unread output', async t => {
  const path = await directory(t)
  const { child, exited, logs } = launchServer(t, { DATABASE_URL, DATA_DIR: path, DRAIN_GRACE: '20' })

  await t.test('keeps running when its output pipe is closed', async () => {
    child.stderr!.destroy()
    const ready = await eventually(
      () => logs().find(({ msg }) => msg === 'ready'),
      line => line !== undefined
    )
    assert.equal((await fetch(`${ready!.url}/api/v1/ping`)).status, 200)
  })

  await t.test('exits immediately on a second signal', async t => {
    const impatience = setInterval(() => child.kill('SIGTERM'), 100)
    t.after(() => clearInterval(impatience))
    assert.equal(await exited, 1)
    assert.ok(logs().some(({ msg }) => msg === 'second signal, exiting at once'))
  })
})

test('an uncaught error is logged, and the process shuts down cleanly with 1', async t => {
  const { url, exited, logs } = await server(t, { RHONE_SWAP: 'pressure=off,cors=./test/fixtures/swaps/time-bomb.ts' })
  assert.equal((await fetch(`${url}/bomb`)).status, 200)
  assert.equal(await exited, 1)
  assertFaultThenOrder(logs())
})

function assertFaultThenOrder(logs: readonly Record<string, unknown>[]): void {
  const messages = logs.map(({ level, msg }) => `${level} ${msg}`)
  for (const message of ['fatal uncaught exception', 'info drain: closed', 'info stopped'])
    assert.ok(messages.includes(message), `no "${message}" in ${messages}`)
}

test('while it drains', async t => {
  const { child, url, exited, logs } = await server(t, {
    RHONE_SWAP: 'pressure=off,cors=./test/fixtures/swaps/time-bomb.ts',
    DRAIN_GRACE: '4'
  })
  child.kill('SIGTERM')

  await t.test('it is not ready, keeps serving, and announces that connections will close', async () => {
    const ready = await eventually(
      () => fetch(`${url}/ready`),
      reply => reply.status === 503
    )
    assert.deepEqual(await ready.json(), { status: 'not_ready', reasons: ['draining'] })
    const served = await fetch(`${url}/api/v1/ping`)
    assert.equal(served.status, 200)
    assert.equal(served.headers.get('connection'), 'close')
  })

  await t.test('an uncaught error does not abort requests in flight', async () => {
    assert.equal((await fetch(`${url}/bomb`)).status, 200)
    assert.equal(await exited, 1)
    assertFaultThenOrder(logs())
  })
})

test('a signal during the start leaves no PostgreSQL running', async t => {
  const path = await directory(t)
  const { child, exited } = launchServer(t, { DATA_DIR: path })
  const pidFile = join(path, 'postgres/data/postmaster.pid')
  const readPid = () => (existsSync(pidFile) ? Number.parseInt(readFileSync(pidFile, 'utf8'), 10) : 0)
  const pid = await eventually(readPid, read => read > 0)
  child.kill('SIGTERM')
  assert.equal(await exited, 0)
  assert.equal(identify(pid), null)
})

test('a start that waits for another instance to migrate can be stopped', async t => {
  const path = await directory(t)
  const other = postgres(DATABASE_URL, { max: 1 })
  t.after(() => other.end({ timeout: 1 }))
  await other`select pg_advisory_lock(7266911473001)`

  const { child, exited, logs } = launchServer(t, { DATABASE_URL, DATA_DIR: path })
  await eventually(
    () => other`select from pg_stat_activity where datname = current_database() and application_name = 'rhone-migrate'`,
    sessions => sessions.length > 0
  )
  child.kill('SIGTERM')
  assert.equal(await exited, 0)
  // Not always the last line: an earlier write may still be under way on its own thread.
  assert.ok(logs().some(({ msg }) => msg === 'stopped'))
})
