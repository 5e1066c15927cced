import assert from 'node:assert/strict'
import type { Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { suite, test } from 'node:test'
import { Registry } from '@platformatic/prom-client'
import type { FastifyInstance } from 'fastify'
import { regions, teams } from '../../drizzle/schema.ts'
import { databaseOf, freshDatabase, terminateBackends, withCluster } from '../support/database.ts'
import { databaseApp, sleep, unavailable } from '../support/database-app.ts'
import { eventually } from '../support/eventually.ts'
import { errorResponse, tcpProxy } from '../support/tcp-proxy.ts'

/** As after a failover: the sessions end, and new ones are read-only. */
async function closeForWrites(url: string): Promise<void> {
  await withCluster(
    cluster => cluster`alter database ${cluster(databaseOf(url))} set default_transaction_read_only = on`
  )
  await terminateBackends(url)
}

const openForWrites = (url: string) =>
  withCluster(cluster => cluster`alter database ${cluster(databaseOf(url))} reset default_transaction_read_only`)

const insertTeam = (app: FastifyInstance, slug: string) => app.db.insert(teams).values({ name: slug, slug })

suite('a read-only database', () => {
  test('refuses writes with 503 and a reason, reports it to health checks, and accepts writes again later', async t => {
    const registry = new Registry()
    const { app, url } = await databaseApp(t, { registry })
    await insertTeam(app, 'before')
    await closeForWrites(url)

    const refused = await eventually(
      () => unavailable(insertTeam(app, 'refused')),
      ({ detail }) => detail !== 'The database cannot be reached'
    )
    assert.match(refused.detail!, /^database_readonly: /)
    assert.equal(refused.headers?.['retry-after'], '1')
    await unavailable(app.db.transaction(async tx => tx.insert(teams).values({ name: 'b', slug: 'b' })))
    assert.equal((await app.db.select().from(regions)).length, 28)
    assert.equal(await app.postgres.ping(1_000), 'read_only')
    assert.match(await registry.metrics(), /rhone_dependency_up\{service="database"\} 0/)

    await openForWrites(url)
    await eventually(
      () => insertTeam(app, 'after').catch(() => null),
      written => written !== null
    )
    await eventually(
      () => app.postgres.ping(1_000).catch(() => null),
      state => state === 'writable'
    )
    assert.match(await registry.metrics(), /rhone_dependency_up\{service="database"\} 1/)
  })

  test('loses all sessions that started while it was read-only, even those in use', async t => {
    const { app, url } = await databaseApp(t, { poolMax: 3 })
    await closeForWrites(url)
    await eventually(
      () => app.postgres.ping(1_000).catch(() => 'unreachable'),
      state => state === 'read_only'
    )
    const busy = [0, 1, 2].map(() => sleep(app, 0.5))
    await openForWrites(url)
    await eventually(
      () => app.postgres.ping(1_000),
      state => state === 'writable'
    )
    await Promise.all(busy)
    for (const slug of ['a', 'b', 'c', 'd', 'e', 'f']) await insertTeam(app, slug)
  })

  test('is detected on connecting, before any write', async t => {
    const url = await freshDatabase(t)
    await closeForWrites(url)
    const registry = new Registry()
    const { app } = await databaseApp(t, { url, registry })
    assert.equal((await app.db.select().from(regions)).length, 28)
    assert.match(await registry.metrics(), /rhone_dependency_up\{service="database"\} 0/)
  })
})

test('a database without space refuses writes with 503 and a reason, until it has space again', async t => {
  const proxy = await tcpProxy(t, await freshDatabase(t))
  let isFull = false
  proxy.handle = (client, passOn) => passOn(refusing(client, text => isFull && WRITES.test(text)))
  const { app } = await databaseApp(t, { url: proxy.url, poolMax: 1 })
  await insertTeam(app, 'before')
  assert.equal(await app.postgres.ping(1_000), 'writable')

  isFull = true
  const refused = await unavailable(app.postgres.script('create table refused ()'))
  assert.match(refused.detail!, /^database_full: /)
  assert.equal(refused.headers?.['retry-after'], '1')
  assert.equal((await app.db.select().from(regions)).length, 28)
  assert.equal(await app.postgres.ping(1_000), 'full')

  isFull = false
  await eventually(
    () => app.postgres.ping(1_000),
    state => state === 'writable'
  )
  await insertTeam(app, 'after')
})

const WRITES = /create (temporary )?table/

/** Passes on a client's messages, except for statements that are answered with PostgreSQL's error for a full disk. */
function refusing(client: Socket, isRefused: (text: string) => boolean): Duplex {
  const passedOn = new Duplex({
    read() {},
    write(chunk, _encoding, done) {
      client.write(chunk, done)
    }
  })
  client.on('data', chunk => {
    if (isRefused(chunk.toString())) client.write(Buffer.concat([errorResponse('53100', 'No space left'), READY]))
    else passedOn.push(chunk)
  })
  client.on('close', () => passedOn.destroy())
  passedOn.on('close', () => client.destroy())
  return passedOn
}

const READY = Buffer.from('Z\0\0\0\x05I')
