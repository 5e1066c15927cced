import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../src/embedded-postgres/index.ts'
import { eventually } from '../support/eventually.ts'
import { startServer } from '../support/process.ts'

const quiet = { info() {}, warn() {}, error() {} }

async function directory(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'rhone-outage-'))
  t.after(() => rm(path, { recursive: true, force: true }))
  return path
}

const statusOf = async (url: string, token?: string) =>
  (await fetch(url, { headers: token ? { authorization: `Bearer ${token}` } : {} })).status

test('a server and its database', async t => {
  // The servers reuse the stopped cluster: creating one is most of the cost of a start.
  const path = await directory(t)

  await t.test('while the database is unreachable the server stays up, reports it, and recovers by itself', t =>
    outlivesDatabase(t, path)
  )
  await t.test(
    'a server that is killed loses nothing that was acknowledged, and its successor adopts the database',
    t => adoptsDatabase(t, path)
  )
})

async function outlivesDatabase(t: TestContext, path: string): Promise<void> {
  let postgres: EmbeddedPostgres | undefined
  t.after(() => postgres?.stop())
  const options = { dataDir: join(path, 'postgres'), log: quiet, durable: false }
  postgres = await startEmbeddedPostgres(options)
  const server = await startServer(t, { DATABASE_URL: postgres.url, DATA_DIR: path })
  assert.equal(await statusOf(`${server.url}/api/v1/apps`, server.token), 200)
  assert.equal(await statusOf(`${server.url}/api/v1/regions`), 200)

  await postgres.stop()
  await eventually(
    () => statusOf(`${server.url}/ready`),
    status => status === 503
  )
  const ready = await (await fetch(`${server.url}/ready`)).json()
  assert.deepEqual(ready, { status: 'not_ready', reasons: ['database'] })
  assert.equal(await statusOf(`${server.url}/health`), 200)
  assert.equal(await statusOf(`${server.url}/api/v1/ping`), 200)
  assert.equal(await statusOf(`${server.url}/openapi.json`), 200)
  assert.equal(await statusOf(`${server.url}/api/v1/regions`), 200, 'cached data is still served')
  assert.equal(await statusOf(`${server.url}/health/detailed`), 503)
  // A scrape may be a second old.
  await eventually(
    async () => (await fetch(`${server.url}/metrics`)).text(),
    metrics => /^rhone_dependency_up\{service="database"\} 0$/m.test(metrics)
  )

  const refused = await fetch(`${server.url}/api/v1/apps`, { headers: { authorization: `Bearer ${server.token}` } })
  assert.equal(refused.status, 503)
  assert.ok(Number(refused.headers.get('retry-after')) >= 1)
  assert.equal(((await refused.json()) as { error: { code: string } }).error.code, 'SERVICE_UNAVAILABLE')

  postgres = await startEmbeddedPostgres(options)
  await eventually(
    () => statusOf(`${server.url}/ready`),
    status => status === 200
  )
  await eventually(
    () => statusOf(`${server.url}/api/v1/apps`, server.token),
    status => status === 200
  )
  assert.equal(server.child.exitCode, null, 'nothing was restarted')
  server.child.kill('SIGTERM')
  assert.equal(await server.exited, 0)
  await postgres.stop()
}

async function adoptsDatabase(t: TestContext, path: string): Promise<void> {
  const first = await startServer(t, { DATA_DIR: path })
  const created = await fetch(`${first.url}/api/v1/apps`, {
    method: 'POST',
    headers: { authorization: `Bearer ${first.token}`, 'content-type': 'application/json' },
    body: '{"name":"survivor"}'
  })
  assert.equal(created.status, 201)
  first.child.kill('SIGKILL')
  await first.exited

  const second = await startServer(t, { DATA_DIR: path })
  assert.equal(await statusOf(`${second.url}/api/v1/apps/survivor`, first.token), 200)

  await assert.rejects(
    startServer(t, { DATA_DIR: path }),
    /ended with 1[\s\S]*is in use by another server/,
    'a directory has one owner'
  )
  second.child.kill('SIGTERM')
  assert.equal(await second.exited, 0)
}
