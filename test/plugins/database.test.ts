import assert from 'node:assert/strict'
import { once } from 'node:events'
import { suite, test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { Registry } from '@platformatic/prom-client'
import { eq, sql } from 'drizzle-orm'
import Fastify, { type FastifyInstance } from 'fastify'
import * as schema from '../../drizzle/schema.ts'
import database from '../../plugins/database/index.ts'
import { AppError } from '../../plugins/lib/errors.ts'
import { sqlState } from '../../plugins/lib/postgres.ts'
import { commitWithNext } from '../../src/domain/base/db.ts'
import { setAhead, stopClock } from '../support/clock.ts'
import { databaseOf, freshDatabase, terminateBackends, withCluster } from '../support/database.ts'
import { sleep, databaseApp as start, unavailable } from '../support/database-app.ts'
import { eventually } from '../support/eventually.ts'
import { stays } from '../support/stays.ts'
import { errorResponse, tcpProxy } from '../support/tcp-proxy.ts'
import { thoroughly } from '../support/thorough.ts'

const { apiTokens, regions, teams, users } = schema

suite('database', () => {
  test('names what is missing if it is not configured', async () => {
    await assert.rejects(async () => Fastify().register(database), /rhone-database: option "url" is required/)
    await assert.rejects(
      async () => Fastify().register(database, { url: 'mysql://host/db' }),
      /the database URL must have the form/
    )
  })

  test('writes and reads every type of value in the schema', async t => {
    const { app } = await start(t)
    const [user] = await app.db.insert(users).values({ username: 'ada', githubId: 7 }).returning()
    const tokenHash = Buffer.from([0, 1, 254, 255])
    const [token] = await app.db
      .insert(apiTokens)
      .values({ userId: user!.id, name: 'ci', tokenHash, prefix: 'rhone_ab', scopes: ['read', 'deploy'] })
      .returning()
    await app.db.insert(schema.auditLogs).values({
      eventType: 'auth',
      action: 'login',
      resource: 'session',
      details: { browser: "O'Hare", tries: [1, 2] }
    })

    assert.ok(user!.createdAt instanceof Date)
    assert.equal(user!.githubId, 7)
    assert.deepEqual(token!.tokenHash, tokenHash)
    assert.deepEqual(token!.scopes, ['read', 'deploy'])
    assert.deepEqual((await app.db.query.auditLogs.findFirst())!.details, { browser: "O'Hare", tries: [1, 2] })
    assert.equal((await app.db.select().from(regions).where(eq(regions.code, 'iad')))[0]!.latitude, 39.043757)
  })

  test('prepares statements once per connection, unless turned off', async t => {
    const url = await freshDatabase(t)
    for (const [prepare, prepared] of [
      [true, 1],
      [false, 0]
    ] as const) {
      const { app } = await start(t, { url, prepare, poolMax: 1 })
      for (const code of ['iad', 'ams']) await app.db.select().from(regions).where(eq(regions.code, code))
      const [row] = await app.db.execute(
        sql`select count(*)::int as n from pg_prepared_statements where statement like 'select "code"%'`
      )
      assert.equal(row?.n, prepared)
    }
  })

  test('a script runs whole transactions, and a failed one leaves nothing', async t => {
    const { app } = await start(t, { poolMax: 1 })
    const rows = await app.postgres.script(`
      begin; create table scripted (n int); insert into scripted values (1), (2); commit;
      select n from scripted order by n; select 'last' as word;`)
    assert.deepEqual(rows, [{ n: 1 }, { n: 2 }, { word: 'last' }])
    const failing = app.postgres.script('begin; insert into scripted values (3); select 1 / 0; commit;')
    await assert.rejects(failing, error => sqlState(error) === '22012')
    const [row] = await app.db.execute(sql`select count(*)::int as n from scripted`)
    assert.equal(row?.n, 2)
  })

  test('commits transactions, and rolls back failed ones and failed savepoints', async t => {
    const { app } = await start(t)
    await app.db.transaction(async tx => {
      await tx.insert(teams).values({ name: 'kept', slug: 'kept' })
      const inner = tx.transaction(async nested => {
        await nested.insert(teams).values({ name: 'inner', slug: 'inner' })
        throw new Error('changed my mind')
      })
      await assert.rejects(inner, /changed my mind/)
    })
    const outer = app.db.transaction(async tx => {
      await tx.insert(teams).values({ name: 'outer', slug: 'outer' })
      throw new Error('no')
    })
    await assert.rejects(outer, /^Error: no$/)
    const rows = await app.db.select().from(teams)
    assert.deepEqual(
      rows.map(team => team.slug),
      ['kept']
    )
  })

  test('accepts a transaction configuration', async t => {
    const { app } = await start(t)
    const [row] = await app.db.transaction(async tx => tx.execute(sql`show transaction_isolation`), {
      isolationLevel: 'serializable'
    })
    assert.equal(row?.transaction_isolation, 'serializable')
  })
})

suite('a busy database', () => {
  test('refuses queries with 503 after the queue timeout, and recovers', async t => {
    const { app } = await start(t, { poolMax: 2, queueTimeout: 400 })
    const busy = [sleep(app, 1.5), sleep(app, 1.5)]
    const before = performance.now()
    const refused = await unavailable(sleep(app, 0))
    const waited = performance.now() - before
    assert.equal(refused.headers?.['retry-after'], '1')
    assert.ok(waited >= 395, `waited ${waited} ms`)
    assert.equal(app.postgres.stats.inUse, 2, 'it did not wait for a connection to be free')
    await Promise.all(busy)
    await sleep(app, 0)
  })

  test('refuses at once when the queue is full', async t => {
    const { app } = await start(t, { poolMax: 1, maxQueue: 1 })
    const busy = sleep(app, 0.8)
    await eventually(() => app.postgres.stats.inUse === 1)
    const waiting = sleep(app, 0)
    await eventually(() => app.postgres.stats.waiting === 1)
    await unavailable(sleep(app, 0))
    assert.equal(app.postgres.stats.waiting, 1, 'the line has not moved meanwhile')
    await Promise.all([busy, waiting])
  })

  test('serves the longest waiting first', async t => {
    const { app } = await start(t, { poolMax: 1 })
    const order: number[] = []
    await Promise.all([0, 1, 2, 3, 4, 5].map(i => sleep(app, 0.01).then(() => order.push(i))))
    assert.deepEqual(order, [0, 1, 2, 3, 4, 5])
  })

  test('opens at most the allowed number of connections', async t => {
    const { app } = await start(t, { poolMax: 2 })
    await Promise.all([0, 1, 2, 3, 4, 5].map(() => sleep(app, 0.05)))
    const { idle, ...others } = app.postgres.stats
    assert.deepEqual(others, { inUse: 0, waiting: 0 })
    assert.ok(idle <= 2, `${idle} connections`)
  })

  test('does not count as unreachable: a ping waits behind no query', async t => {
    const { app } = await start(t, { poolMax: 1 })
    const busy = sleep(app, 1)
    await eventually(() => app.postgres.stats.inUse === 1)
    await app.postgres.ping(800)
    assert.equal(app.postgres.stats.inUse, 1)
    await busy
  })

  test('ends a statement that takes too long with 503', async t => {
    const { app } = await start(t, { statementTimeout: 100 })
    assert.equal((await unavailable(sleep(app, 5))).detail, 'The database did not answer in time')
  })

  test('ends a statement that waits too long for a lock with 503', async t => {
    const { app } = await start(t, { lockTimeout: 50 })
    await app.db.transaction(async tx => {
      await tx.execute(sql`lock table teams`)
      await unavailable(app.db.select().from(teams))
      await assert.rejects(
        app.db.transaction(async other => other.select().from(teams)),
        { code: 'SERVICE_UNAVAILABLE' }
      )
    })
  })

  test('passes on statement errors unchanged, with their SQLSTATE', async t => {
    const { app } = await start(t)
    await app.db.insert(teams).values({ name: 'a', slug: 'taken' })
    const again = app.db.insert(teams).values({ name: 'b', slug: 'taken' })
    await assert.rejects(again, error => !(error instanceof AppError) && sqlState(error) === '23505')
    const inTransaction = app.db.transaction(async tx => tx.insert(teams).values({ name: 'b', slug: 'taken' }))
    await assert.rejects(inTransaction, error => !(error instanceof AppError) && sqlState(error) === '23505')
  })
})

suite('reads', () => {
  const regionByCode = (app: FastifyInstance, code: string) =>
    app.postgres.reads.select().from(regions).where(eq(regions.code, code))

  /** A second and a half, a little for each row. */
  const sleepingRead = (app: FastifyInstance) =>
    app.postgres.reads.select({ code: regions.code }).from(regions).where(sql`pg_sleep(0.05) is not null`).execute()

  test('of the same moment share connections, up to a number, and each gets its own rows', async t => {
    const { app } = await start(t, { poolMax: 8, pipeline: 4 })
    await Promise.all(Array.from({ length: 8 }, () => sleep(app, 0.05)))
    const codes = ['iad', 'ams', 'fra', 'lhr', 'cdg', 'waw', 'mad', 'arn']
    const fields = { code: regions.code, backend: sql<number>`pg_backend_pid()` }
    const found = await Promise.all(
      codes.map(code => app.postgres.reads.select(fields).from(regions).where(eq(regions.code, code)))
    )
    assert.deepEqual(
      found.map(([region]) => region!.code),
      codes
    )
    const used = new Set(found.map(([region]) => region!.backend)).size
    assert.ok(used >= 2 && used < 8, `${used} connections for ${codes.length} reads`)
    await eventually(() => app.postgres.stats.idle === 8)
  })

  test('behind a slow one are answered by another connection', async t => {
    const { app } = await start(t, { poolMax: 2 })
    await Promise.all([sleep(app, 0.05), sleep(app, 0.05)])
    const slow = sleepingRead(app)
    const quick = regionByCode(app, 'iad').execute()
    assert.equal(await Promise.race([slow.then(() => 'slow'), quick.then(() => 'quick')]), 'quick')
    await slow
    await eventually(() => app.postgres.stats.idle === 2)
  })

  test('that wait together are served together, and never beside a transaction', async t => {
    const { app } = await start(t, { poolMax: 1 })
    const done: string[] = []
    const first = app.db.transaction(async tx => {
      await tx.execute(sql`select pg_sleep(0.1)`)
      done.push('first')
    })
    const reads = ['iad', 'ams', 'fra'].map(code => regionByCode(app, code).then(() => done.push('read')))
    await eventually(() => app.postgres.stats.waiting === 3)
    const second = app.db.transaction(async tx => {
      await tx.execute(sql`select 1`)
      done.push('second')
    })
    await Promise.all([first, ...reads, second])
    assert.deepEqual(done, ['first', 'read', 'read', 'read', 'second'])
  })

  test('use their own connection if configured', async t => {
    const { app } = await start(t, { poolMax: 2, pipeline: 1 })
    await Promise.all([sleep(app, 0.05), sleep(app, 0.05)])
    const found = Promise.all([sleepingRead(app), sleepingRead(app)])
    await eventually(() => app.postgres.stats.inUse === 2)
    await found
  })
})

suite('a transaction', () => {
  test('in which a statement has failed is not reported as committed, even if its error was caught', async t => {
    const { app } = await start(t)
    const swallowed = app.db.transaction(async tx => {
      await tx.insert(teams).values({ name: 'lost', slug: 'lost' })
      await tx.execute(sql`select 1 / 0`).catch(() => {})
    })
    await assert.rejects(swallowed, /rolled back/)
    assert.deepEqual(await app.db.select().from(teams), [])
  })

  test('that does nothing sends nothing to the database', async t => {
    const { app, url } = await start(t)
    assert.equal(await app.db.transaction(async () => 'done'), 'done')
    assert.equal(await backends(url, 'rhone', 'idle in transaction'), 0)
  })

  test('that begins with a read sends it together with BEGIN, and sees its own changes', async t => {
    const { app } = await start(t)
    const names = await app.db.transaction(async tx => {
      const before = await tx.select().from(teams)
      await tx.insert(teams).values({ name: 'new', slug: 'new' })
      return [...before, ...(await tx.select().from(teams))].map(team => team.name)
    })
    assert.deepEqual(names, ['new'])
  })

  test('that marks its last statement is committed together with it', async t => {
    const { app } = await start(t)
    await app.db.transaction(async tx => {
      await tx.insert(teams).values({ name: 'first', slug: 'first' })
      commitWithNext(tx)
      await tx.insert(teams).values({ name: 'last', slug: 'last' })
      // Seen by others while this function has not returned.
      await eventually(
        () => app.db.select().from(teams),
        found => found.length === 2
      )
      await assert.rejects(tx.select().from(teams), { message: 'the transaction has already ended' })
    })
  })

  test('whose last statement fails is rolled back, and fails with that error', async t => {
    const { app } = await start(t, { poolMax: 1 })
    const failing = app.db.transaction(async tx => {
      await tx.insert(teams).values({ name: 'taken', slug: 'taken' })
      commitWithNext(tx)
      await tx.insert(teams).values({ name: 'taken again', slug: 'taken' })
    })
    await assert.rejects(failing, { constraint_name: 'teams_slug_unique' })
    assert.deepEqual(await app.db.select().from(teams), [])
  })

  test('whose announced last statement never comes is committed or rolled back as usual', async t => {
    const { app } = await start(t, { poolMax: 1 })
    const write = async (tx: typeof app.db, name: string) => {
      await tx.insert(teams).values({ name, slug: name })
      commitWithNext(tx)
    }
    await app.db.transaction(tx => write(tx as never, 'kept'))
    const failing = app.db.transaction(async tx => {
      await write(tx as never, 'lost')
      throw new Error('on second thoughts')
    })
    await assert.rejects(failing, { message: 'on second thoughts' })
    assert.deepEqual(
      (await app.db.select().from(teams)).map(({ name }) => name),
      ['kept']
    )
  })

  test('that begins with a lock holds it until its end', async t => {
    const { app } = await start(t)
    await app.db.insert(teams).values({ name: 'new', slug: 'new' })
    await app.db.transaction(async tx => {
      assert.equal((await tx.select().from(teams).for('update')).length, 1)
      const others = await app.db.select().from(teams).for('update', { skipLocked: true })
      assert.deepEqual(others, [])
    })
    assert.equal((await app.db.select().from(teams).for('update', { skipLocked: true })).length, 1)
  })
})

suite('a database outage', () => {
  test('does not prevent the boot; requests fail fast, and it is used once available', async t => {
    const proxy = await tcpProxy(t, await freshDatabase(t))
    await proxy.stop()
    const queueTimeout = 10_000
    const { app } = await start(t, { url: proxy.url, queueTimeout })
    const before = performance.now()
    for (let i = 0; i < 20; i++) await unavailable(app.db.select().from(regions))
    assert.ok(performance.now() - before < queueTimeout)
    await assert.rejects(app.postgres.ping(500))

    await proxy.start()
    await isBack(app)
  })

  test('refuses queries after the queue timeout, not the connect timeout', async t => {
    const proxy = await tcpProxy(t, await freshDatabase(t))
    proxy.handle = () => {}
    const connectTimeout = 20
    const { app } = await start(t, { url: proxy.url, queueTimeout: 100, connectTimeout })
    const before = performance.now()
    await unavailable(app.db.select().from(regions))
    assert.ok(performance.now() - before < connectTimeout * 1_000)
  })

  test('is not dialled in a tight loop when it accepts and hangs up', async t => {
    const proxy = await tcpProxy(t, await freshDatabase(t))
    proxy.handle = client => client.end()
    const { app } = await start(t, { url: proxy.url })
    const goOn = stopClock(t, performance)
    for (let i = 0; i < 20; i++) await unavailable(app.db.select().from(regions))
    assert.ok(proxy.accepted < 20, `${proxy.accepted} connections`)
    proxy.handle = undefined
    goOn()
    await isBack(app)
  })

  test('fails queries on a silent connection, and recovers', async t => {
    const proxy = await tcpProxy(t, await freshDatabase(t))
    const { app } = await start(t, { url: proxy.url, statementTimeout: 200 })
    await Promise.all([sleep(app, 0), sleep(app, 0)])
    proxy.freeze()
    await assert.rejects(app.postgres.ping(100))
    await Promise.all([
      unavailable(app.db.select().from(regions)),
      unavailable(app.db.transaction(async tx => tx.select().from(regions)))
    ])
    proxy.thaw()
    await isBack(app)
    await app.postgres.ping(1_000)
  })

  test('rejects a transaction as soon as its connection is lost, and runs nothing of it elsewhere', async t => {
    const { app, url } = await start(t, { poolMax: 1 })
    const bodyGoesOn = Promise.withResolvers<void>()
    const bodyEnds = Promise.withResolvers<unknown>()
    const transaction = app.db.transaction(async tx => {
      await tx.insert(teams).values({ name: 'half', slug: 'half' })
      await terminateBackends(url)
      await bodyGoesOn.promise
      const late = tx.insert(teams).values({ name: 'late', slug: 'late' })
      const nested = tx.transaction(async inner => inner.insert(teams).values({ name: 'nested', slug: 'nested' }))
      bodyEnds.resolve(await Promise.allSettled([late, nested]))
    })
    await unavailable(transaction)
    await app.db.insert(teams).values({ name: 'after', slug: 'after' })
    bodyGoesOn.resolve()
    const outcomes = (await bodyEnds.promise) as PromiseSettledResult<unknown>[]
    assert.deepEqual(
      outcomes.map(outcome => outcome.status),
      ['rejected', 'rejected']
    )
    await stays(async () => {
      const rows = await app.db.select().from(teams)
      return rows.map(team => team.slug).join() === 'after'
    })
  })

  test('is survived if all connections are terminated again and again under load', async t => {
    const { app, url } = await start(t, { poolMax: thoroughly(4, 8) })
    const stop = new AbortController()
    let served = 0
    let refused = 0
    const work = [
      () => app.db.select().from(regions),
      () => app.db.transaction(async tx => tx.execute(sql`select pg_sleep(0.002)`)),
      () =>
        app.db.transaction(async tx => {
          await tx.select().from(regions)
          await turn()
          await tx.transaction(async inner => inner.select().from(regions))
          await turn()
          await tx.select().from(regions)
        })
    ]
    const clients = Array.from({ length: thoroughly(12, 24) }, async (_, i) => {
      while (!stop.signal.aborted)
        await work[i % work.length]!().then(
          () => served++,
          (error: unknown) => {
            assert.ok(error instanceof AppError && error.code === 'SERVICE_UNAVAILABLE', String(error))
            refused++
            return app.postgres.ping(1_000).catch(() => {})
          }
        )
    })
    const terminations = (async () => {
      for (let i = 0; i < thoroughly(15, 50); i++) {
        await terminateBackends(url)
        const servedBefore = served
        await eventually(() => served > servedBefore)
      }
    })().finally(() => stop.abort())
    await Promise.all([terminations, ...clients])
    assert.ok(refused > 0, 'no query was refused')
    await isBack(app)
    assert.equal(app.postgres.stats.waiting, 0)
  })
})

suite('connections', () => {
  test('are closed when unused', async t => {
    const { app, url } = await start(t, { idleTimeout: 0.6 })
    // Long enough that none of them is done before the last one has its connection.
    await Promise.all([sleep(app, 0.5), sleep(app, 0.5), sleep(app, 0.5)])
    assert.equal(app.postgres.stats.idle, 3)
    await eventually(async () => (await backends(url, 'rhone')) === 0)
    assert.equal(app.postgres.stats.idle, 0)
    await sleep(app, 0)
  })

  test('are replaced when they are old', async t => {
    const { app } = await start(t, { poolMax: 1, maxLifetime: 0.1 })
    const pid = async () => (await app.db.execute(sql`select pg_backend_pid() as pid`))[0]?.pid
    const first = await pid()
    setAhead(t, performance, 150)
    await pid()
    assert.notEqual(await pid(), first)
  })

  test('are all closed at shutdown, even one that is busy for too long', async t => {
    const { app, url } = await start(t, { statementTimeout: 0 })
    const stuck = assert.rejects(sleep(app, 60))
    await app.postgres.listen(
      'any',
      () => {},
      () => {}
    )
    await app.postgres.ping(1_000)
    const before = performance.now()
    await app.close()
    await stuck
    assert.ok(performance.now() - before < 30_000, 'half of what it is busy for')
    await unavailable(sleep(app, 0))
    await eventually(async () => (await backends(url, 'rhone%', 'idle')) === 0)
  })

  test('are opened without our session parameters if a pooler refuses these', async t => {
    const proxy = await tcpProxy(t, await freshDatabase(t))
    proxy.handle = (client, passOn) =>
      client.once('data', startup => {
        if (startup.includes('statement_timeout'))
          return client.end(errorResponse('08P01', 'unsupported startup parameter'))
        client.pause()
        client.unshift(startup)
        passOn()
        client.resume()
      })
    const { app } = await start(t, { url: proxy.url, prepare: false })
    assert.equal((await app.db.select().from(regions)).length, 28)
  })
})

suite('listen', () => {
  test('receives notifications, begins with a resync, and ends on request', async t => {
    const { app } = await start(t)
    const { heard, next, listen } = recorder(app)
    const unlisten = await listen('news')
    await next()
    await app.db.execute(sql`select pg_notify('news', 'first'), pg_notify('other', 'not ours')`)
    await next()
    assert.deepEqual(heard, ['resync', 'first'])
    await unlisten()
    await app.db.execute(sql`select pg_notify('news', 'second')`)
    await stays(() => heard.length === 2)
    assert.deepEqual(heard, ['resync', 'first'])
  })

  test('accepts more channels while it listens, and names that need quoting', async t => {
    const { app } = await start(t)
    const one = recorder(app)
    await one.listen('one')
    await one.next()
    const two = recorder(app)
    await two.listen('say "two"')
    await two.next()
    await app.db.execute(sql`select pg_notify('say "two"', 'hello')`)
    await two.next()
    assert.deepEqual([one.heard, two.heard], [['resync'], ['resync', 'hello']])
  })

  test('starts again with a resync after a lost connection', async t => {
    const { app, url } = await start(t)
    const { heard, next, listen } = recorder(app)
    await listen('news')
    await next()
    await terminateBackends(url)
    await next()
    await app.db.execute(sql`select pg_notify('news', 'heard')`)
    await next()
    assert.deepEqual(heard, ['resync', 'resync', 'heard'])
  })

  test('detects a silent connection', async t => {
    const proxy = await tcpProxy(t, await freshDatabase(t))
    const { app } = await start(t, { url: proxy.url })
    const listening = Promise.withResolvers<void>()
    const lost = Promise.withResolvers<void>()
    await app.postgres.listen('news', () => {}, listening.resolve, lost.resolve)
    await listening.promise
    proxy.freeze()
    await lost.promise
    proxy.thaw()
  })

  test('waits for a database that is down', async t => {
    const proxy = await tcpProxy(t, await freshDatabase(t))
    await proxy.stop()
    const { app } = await start(t, { url: proxy.url })
    const { heard, next, listen } = recorder(app)
    await listen('news')
    await stays(() => heard.length === 0)
    await proxy.start()
    await next()
    assert.deepEqual(heard, ['resync'])
  })

  test('bypasses the pooler if there is a direct URL', async t => {
    const url = await freshDatabase(t)
    const pooler = await tcpProxy(t, url)
    const { app } = await start(t, { url: pooler.url, directUrl: url })
    await pooler.stop()
    const { next, listen } = recorder(app)
    await listen('news')
    await next()
  })

  test('continues when a subscriber throws', async t => {
    const { app } = await start(t)
    const { heard, next, listen } = recorder(app)
    await app.postgres.listen(
      'news',
      () => assert.fail('on purpose'),
      () => assert.fail('on purpose')
    )
    await listen('news')
    await next()
    await app.db.execute(sql`select pg_notify('news', 'first')`)
    await next()
    assert.deepEqual(heard, ['resync', 'first'])
  })
})

suite('metrics of the database', () => {
  test('show the state of the pool, query durations by kind, and whether the database is up', async t => {
    const registry = new Registry()
    const proxy = await tcpProxy(t, await freshDatabase(t))
    const { app } = await start(t, { url: proxy.url, poolMax: 1, registry })
    await app.db.insert(teams).values({ name: 'a', slug: 'a' })
    await app.db.transaction(async tx => tx.select().from(teams))
    await app.db.execute(sql`show server_version`)
    const busy = sleep(app, 0.2)
    await eventually(() => app.postgres.stats.inUse === 1)
    const waiting = app.db.select().from(teams).execute()
    await eventually(() => app.postgres.stats.waiting === 1)

    const text = await registry.metrics()
    assert.match(text, /rhone_db_pool_connections\{state="in_use"\} 1/)
    assert.match(text, /rhone_db_pool_connections\{state="waiting"\} 1/)
    assert.match(text, /rhone_dependency_up\{service="database"\} 1/)
    for (const kind of ['insert', 'select', 'transaction', 'other'])
      assert.match(text, new RegExp(`rhone_db_query_duration_seconds_count\\{query="${kind}"\\} 1`))
    await Promise.all([busy, waiting])

    await proxy.stop()
    await eventually(async () => (await registry.metrics()).includes('rhone_dependency_up{service="database"} 0'))
    await proxy.start()
    await eventually(async () => (await registry.metrics()).includes('rhone_dependency_up{service="database"} 1'))
  })
})

/** Resolves when queries are answered again. */
const isBack = (app: FastifyInstance) =>
  eventually(
    () =>
      app.db
        .select()
        .from(regions)
        .catch(() => []),
    rows => rows.length === 28
  )

function recorder(app: FastifyInstance) {
  const heard: string[] = []
  const events = new EventTarget()
  let seen = 0
  function hear(what: string): void {
    heard.push(what)
    events.dispatchEvent(new Event('heard'))
  }
  return {
    heard,
    listen: (channel: string) => app.postgres.listen(channel, hear, () => hear('resync')),
    async next() {
      if (heard.length === seen) await once(events, 'heard', { signal: AbortSignal.timeout(10_000) })
      seen++
    }
  }
}

async function backends(url: string, name: string, state = '%'): Promise<number> {
  const [row] = await withCluster(
    cluster => cluster`select count(*)::int as n from pg_stat_activity
      where datname = ${databaseOf(url)} and application_name like ${name} and state like ${state}`
  )
  return row?.n
}
