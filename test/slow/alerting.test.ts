import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { type Notice, startReceiver } from '../../monitoring/receiver.ts'
import { startStack } from '../../monitoring/stack.ts'
import { freshDatabase } from '../support/database.ts'
import { eventually } from '../support/eventually.ts'
import { freePort } from '../support/free-port.ts'
import { startServer } from '../support/process.ts'
import { type Repetition, repeatedly } from '../support/repeatedly.ts'
import { tcpProxy } from '../support/tcp-proxy.ts'

const missing = ['prometheus', 'prometheus-alertmanager'].filter(name => spawnSync(name, ['--version']).error)
const skip = missing.length > 0 ? `there is no ${missing.join(' and no ')} on this machine` : false

/** An hour of the rules is 90 seconds here. */
const SPEED = 40
const PATIENCE = 180_000

async function directory(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'rhone-alerting-'))
  t.after(() => rm(path, { recursive: true, force: true }))
  return path
}

/** Requests a path repeatedly until stopped. */
function load(t: TestContext, url: string): Repetition {
  const ask = async () => {
    const reply = await fetch(url).catch(() => null)
    await reply?.body?.cancel()
  }
  return repeatedly(t.signal, ask, 50)
}

test('a broken server alerts the right receiver, and so does its recovery', { skip, timeout: 900_000 }, async t => {
  const database = await tcpProxy(t, await freshDatabase(t))
  const dataDir = await directory(t)
  const environment = {
    DATABASE_URL: database.url,
    DATA_DIR: dataDir,
    METRICS_TOKEN: 'scrape-me-if-you-can',
    RHONE_SWAP: 'pressure=off,write-batching=./test/fixtures/swaps/faults.ts'
  }
  const server = await startServer(t, environment)
  const notices: Notice[] = []
  const receiver = await startReceiver(notice => notices.push(notice))
  t.after(() => receiver.close())
  const stack = await startStack({
    target: server.url,
    token: environment.METRICS_TOKEN,
    receiver: receiver.url,
    ports: { prometheus: await freePort(), alertmanager: await freePort() },
    directory: await directory(t),
    interval: 1,
    speed: SPEED
  })
  t.after(() => stack.stop())

  const told = (alert: string, status: Notice['status'], to: string) =>
    eventually(
      () => notices.filter(notice => notice.alert === alert && notice.status === status && notice.receiver === to),
      found => found.length > 0,
      PATIENCE
    )

  await told('Watchdog', 'firing', 'heartbeat')

  await t.test('the database fails and recovers', async () => {
    await database.stop()
    const [notice] = await told('DatabaseDown', 'firing', 'page')
    assert.equal(notice!.severity, 'critical')
    assert.equal(notice!.runbook, 'docs/RUNBOOK.md#databasedown')
    await database.start()
    await told('DatabaseDown', 'resolved', 'page')
  })

  await t.test('requests fail and recover', async () => {
    const failing = load(t, `${server.url}/fault/error`)
    await told('ErrorBudgetBurn2Percent', 'firing', 'page')
    await told('ErrorBudgetFastBurn', 'firing', 'page')
    await told('HighErrorRate', 'firing', 'urgent')
    await failing.stop()
    const healthy = load(t, `${server.url}/api/v1/ping`)
    await told('ErrorBudgetBurn2Percent', 'resolved', 'page')
    await told('ErrorBudgetFastBurn', 'resolved', 'page')
    await healthy.stop()
  })

  await t.test('requests become slow and recover', async () => {
    const slow = load(t, `${server.url}/fault/slow`)
    await told('SLOLatencyBreach', 'firing', 'chat')
    await slow.stop()
    await told('SLOLatencyBreach', 'resolved', 'chat')
  })

  await t.test('the process stops, and only that alert is sent', async () => {
    notices.length = 0
    server.child.kill('SIGKILL')
    await server.exited
    await told('ServiceDown', 'firing', 'page')
    const others = notices.filter(
      ({ alert, status }) => status === 'firing' && !['ServiceDown', 'Watchdog'].includes(alert)
    )
    assert.deepEqual(others, [], 'consequential alerts are inhibited')

    await startServer(t, { ...environment, PORT: String(server.port) })
    await told('ServiceDown', 'resolved', 'page')
  })
})
