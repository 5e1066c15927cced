import assert from 'node:assert/strict'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { buildApp } from '../../src/app.ts'
import { listBackups } from '../../src/workflows/backups/catalogue.ts'
import { testApp, testConfig } from '../support/app.ts'
import { connectTo, directoryFor } from '../support/backups.ts'
import { freshDatabase } from '../support/database.ts'
import { eventually } from '../support/eventually.ts'

/** Receives the reports of a webhook. */
async function listener(t: TestContext) {
  const heard: Record<string, unknown>[] = []
  const server = createServer(async (request, response) => {
    heard.push(JSON.parse(Buffer.concat(await Array.fromAsync(request)).toString()))
    response.end('ok')
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  return { heard, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook?key=x` }
}

const gaugesOf = async (app: Awaited<ReturnType<typeof testApp>>['app']) => {
  const text = (await app.inject({ url: '/metrics', remoteAddress: '127.0.0.1' })).body
  return (name: string) => Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1])
}

test('an operator starts a backup, which runs in another process, and learns its result', async t => {
  const { heard, url } = await listener(t)
  const { app, as, token } = await testApp(t, { NOTIFY_WEBHOOK_URL: url })
  const asked = await as(token, 'POST', '/admin/backups')
  assert.equal(asked.statusCode, 202, asked.body)
  await eventually(() => heard.length === 1)
  const [notice] = heard
  assert.equal(notice!.event, 'backup', JSON.stringify(notice))
  assert.equal(notice!.outcome, 'success', String(notice!.text))
  const listed = (await as(token, 'GET', '/admin/backups')).json()
  assert.equal(listed.items.length, 1)
  assert.deepEqual([listed.items[0].state, listed.items[0].checked, listed.lastDrill], ['verified', 'opened', null])
  // A scrape may be a second old.
  const gauge = await eventually(
    () => gaugesOf(app),
    gauge => Date.now() / 1_000 - gauge('rhone_backup_last_success_timestamp_seconds') < 120
  )
  assert.ok(gauge('rhone_backup_last_size_bytes') > 1_000)
  const audit = (await as(token, 'GET', '/admin/audit?resource=backup')).json()
  assert.deepEqual([audit.items[0].action, audit.items[0].details], ['create', { trigger: 'operator' }])
})

test('one instance creates a due backup, and only if the latest one is old enough', async t => {
  const url = await freshDatabase(t)
  const directory = await directoryFor(t)
  const variables = { DATABASE_URL: url, BACKUP_SCHEDULE: '0 2 * * *', BACKUP_URL: `file://${directory}` }
  const { app } = await testApp(t, variables)
  const [chore] = app.backups.chores
  const never = new AbortController().signal
  const sql = connectTo(t, url)
  await sql`update schema_migrations set applied_at = now() where idx = 0`
  await chore!.run(never)
  assert.equal((await sql`select from pgboss.job where name = 'backup'`).length, 0)

  const other = await buildApp(await testConfig(t, variables))
  t.after(() => other.close())
  await other.ready()
  await sql`update schema_migrations set applied_at = now() - interval '3 days'`
  await other.backups.chores[0]!.run(never)
  await chore!.run(never)
  assert.equal((await sql`select from pgboss.job where name = 'backup'`).length, 1)
  const states = async () =>
    (await sql`select state::text as state from pgboss.job where name = 'backup'`).map(row => row.state)
  await eventually(states, ([state]) => state === 'completed')
  assert.equal((await listBackups(app.storage!)).length, 1)
})

test('a failed backup is reported and retried, and does not change the time of the last success', async t => {
  const { heard, url } = await listener(t)
  const directory = await directoryFor(t)
  await writeFile(join(directory, 'file'), '')
  const { app, as, token } = await testApp(t, { NOTIFY_WEBHOOK_URL: url, BACKUP_URL: `file://${directory}/file/in` })
  await as(token, 'POST', '/admin/backups')
  await eventually(() => heard.length === 1)
  assert.equal(heard[0]!.outcome, 'failure')
  assert.match(String(heard[0]!.text), /^The backup has failed: /)
  assert.equal((await gaugesOf(app))('rhone_backup_last_success_timestamp_seconds'), 0)
  const state = async () => (await as(token, 'GET', '/admin/jobs?queue=backup')).json().items[0].state
  await eventually(state, found => found === 'retrying')
})

test('only operators can see and create backups', async t => {
  const { as } = await testApp(t)
  for (const method of ['GET', 'POST'] as const)
    assert.equal((await as('rhn_unknown', method, '/admin/backups')).statusCode, 401)
})
