import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, type TestContext, test } from 'node:test'
import { sql } from 'drizzle-orm'
import { pgTable, text } from 'drizzle-orm/pg-core'
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'
import cache from '../../plugins/cache/index.ts'
import database from '../../plugins/database/index.ts'
import errors from '../../plugins/errors/index.ts'
import { randomKeyring } from '../../plugins/lib/signer.ts'
import regions from '../../plugins/regions/index.ts'
import { timelineFence } from '../../src/wiring/timeline-fence.ts'
import { whileLeading } from '../../src/workflows/deploying/leadership.ts'
import { testApp } from '../support/app.ts'
import { eventually } from '../support/eventually.ts'
import { type PairNode, type ReplicatedPair, replicatedPair } from '../support/replicated-pair.ts'
import { rhone } from '../support/rhone.ts'
import { place, server } from '../support/secret-place.ts'

const notes = pgTable('notes', { who: text().notNull(), role: text() })
const keys = randomKeyring()

/** An instance with routes that write and read notes. */
async function instance(t: TestContext, options: object): Promise<FastifyInstance> {
  const app = Fastify()
  await app.register(errors)
  await app.register(cache)
  await app.register(database, { url: '', ...options })
  const { copies } = app.postgres
  await app.register(regions, { keys, secure: false, ...(copies && { copies }) })
  app.post<{ Params: { who: string } }>('/notes/:who', async request => {
    await insert(app, request.params.who)
    return { written: true }
  })
  app.get<{ Params: { who: string } }>('/notes/:who', async ({ params: { who } }) => ({
    found: (await app.postgres.reads.select().from(notes).where(sql`who = ${who}`)).length
  }))
  t.after(() => app.close())
  await app.ready()
  return app
}

const insert = (app: FastifyInstance, who: string) => app.db.execute(sql`insert into notes (who) values (${who})`)
const succeeds = async (work: PromiseLike<unknown>) => {
  try {
    await work
    return true
  } catch {
    return false
  }
}
/** A busy machine may take longer to find the primary than a query waits. */
const written = (app: FastifyInstance, who: string) => eventually(() => succeeds(insert(app, who)))
const notesOn = async (node: PairNode) =>
  (await node.ask<{ who: string }>('select who from notes order by who')).map(({ who }) => who)

async function pairWithNotes(t: TestContext): Promise<ReplicatedPair> {
  const pair = await replicatedPair(t)
  await pair.primary.ask('create table notes (who text, role text)')
  await pair.caughtUp()
  return pair
}

/** Within the same second, so that only the survey can detect it. */
async function failOver(pair: ReplicatedPair): Promise<void> {
  await pair.primary.kill()
  await pair.standby.promote()
  await pair.primary.start()
}

const pause = (node: PairNode) => node.ask('select pg_wal_replay_pause()')
const resume = (node: PairNode) => node.ask('select pg_wal_replay_resume()')

suite('a list of hosts', () => {
  test('selects the host that accepts writes, in any position', async t => {
    const pair = await pairWithNotes(t)
    const app = await instance(t, { url: pair.url.replace(/@(.*),(.*)\//, '@$2,$1/') })
    await written(app, 'a')
    assert.deepEqual(await notesOn(pair.primary), ['a'])
    assert.equal(app.postgres.copies!.role, 'primary')
  })

  test('follows a promotion within 5 s, and never returns to the old primary, even if it restarts first', async t => {
    const pair = await pairWithNotes(t)
    const directory = await mkdtemp(join(tmpdir(), 'rhone-fence-'))
    t.after(() => rm(directory, { recursive: true, force: true }))
    const fence = () => timelineFence(join(directory, 'timelines.json'), error => t.diagnostic(String(error)))
    const apps = [await instance(t, { url: pair.url, fence: fence() }), await instance(t, { url: pair.url })]
    const [app, other] = apps as [FastifyInstance, FastifyInstance]
    const leaders = apps.map(each => leader(t, each))
    await written(app, 'before')
    await written(other, 'before')
    await eventually(() => leaders.filter(({ leads }) => leads).length === 1)
    await pair.caughtUp()

    await failOver(pair)
    const startedAt = performance.now()
    await Promise.all(apps.map(each => eventually(() => succeeds(insert(each, 'after')))))
    const took = performance.now() - startedAt
    t.diagnostic(`writes resumed after ${Math.round(took)} ms`)
    assert.ok(took < 5_000, `${took} ms`)

    for (let n = 0; n < 100; n++) await insert(apps[n % 2]!, `n${n}`)
    assert.deepEqual(await notesOn(pair.primary), ['before', 'before'])
    assert.equal((await notesOn(pair.standby)).length, 104)

    await eventually(() => leaders.filter(({ leads }) => leads).length === 1)
    const locks = `select count(*)::int as held from pg_locks where locktype = 'advisory' and granted`
    assert.deepEqual(await pair.standby.ask(locks), [{ held: 1 }])
    assert.deepEqual(await pair.primary.ask(locks), [{ held: 0 }])

    // A server that has never seen the new primary, and cannot reach it, does not use the old one either.
    await pair.standby.proxy.stop()
    const late = await instance(t, { url: pair.url, fence: fence() })
    assert.equal(await succeeds(insert(late, 'late')), false)
    assert.match(String(await late.postgres.locate().catch((error: unknown) => error)), /was replaced by a promotion/)
    assert.equal((await notesOn(pair.primary)).length, 2)
  })

  test('is not used by a server that learns of a promotion from a client, even without the new primary', async t => {
    const pair = await pairWithNotes(t)
    const [here, there] = [await instance(t, { url: pair.url }), await instance(t, { url: pair.url })]
    await written(here, 'before')
    await pair.caughtUp()
    // `here` is cut off from the standby, which is promoted while the old primary lives on.
    const cutOff = await instance(t, { url: pair.url.replace(/,.*\//, ',127.0.0.1:1/') })
    await written(cutOff, 'on the old one')
    await pair.caughtUp()
    await pair.standby.promote()
    const changed = await eventually(
      () => there.inject({ method: 'POST', url: '/notes/new' }),
      ({ statusCode, headers }) => statusCode === 200 && String(headers['x-database-position']).startsWith('2-')
    )
    const position = String(changed.headers['x-database-position'])
    await eventually(async () => {
      const headers = { 'x-database-position': position }
      const { statusCode } = await cutOff.inject({ method: 'POST', url: '/notes/lost', headers })
      return statusCode === 503
    })
    const count = (await notesOn(pair.primary)).length
    assert.equal(await succeeds(insert(cutOff, 'lost')), false)
    assert.equal((await notesOn(pair.primary)).length, count)
  })

  test('without an answering host is refused within a second, even if hosts are silent', async t => {
    const pair = await pairWithNotes(t)
    const app = await instance(t, { url: pair.url })
    await written(app, 'a')
    await Promise.all([pair.primary.kill(), pair.standby.kill()])
    for (let n = 0; n < 20; n++) {
      const startedAt = performance.now()
      const { statusCode, headers } = await app.inject({ method: 'POST', url: '/notes/b' })
      const took = performance.now() - startedAt
      assert.equal(statusCode, 503)
      assert.equal(headers['retry-after'], '1')
      assert.ok(took < 1_000, `${took} ms`)
    }
    await Promise.all([pair.primary.start(), pair.standby.start()])
    await eventually(() => succeeds(insert(app, 'back')))

    pair.primary.proxy.freeze()
    pair.standby.proxy.freeze()
    await eventually(() =>
      app.postgres.locate().then(
        () => false,
        () => true
      )
    )
    const startedAt = performance.now()
    assert.equal((await app.inject({ method: 'POST', url: '/notes/c' })).statusCode, 503)
    assert.ok(performance.now() - startedAt < 1_000)
  })
})

suite('a replica', () => {
  test('serves reads, and shows each client its own changes in a thousand requests while it lags', async t => {
    const pair = await pairWithNotes(t)
    const writer = await instance(t, { url: pair.url })
    await written(writer, 'first')
    const outcomes = new Map<string, number>()
    const { Registry } = await import('@platformatic/prom-client')
    const registry = new Registry()
    const reader = await instance(t, { url: pair.url, replicaUrl: pair.standby.url, registry })
    await eventually(() => reader.postgres.copies!.canRead)
    assert.equal(reader.postgres.copies!.role, 'replica')

    for (let n = 0; n < 1_000; n++) {
      if (n % 100 === 40) await pause(pair.standby)
      if (n % 100 === 43) await resume(pair.standby)
      const changed = await writer.inject({ method: 'POST', url: `/notes/w${n}` })
      assert.equal(changed.statusCode, 200, changed.body)
      const cookie = String(changed.headers['set-cookie']).split(';')[0]!
      const read = await reader.inject({ url: `/notes/w${n}`, headers: { cookie } })
      assert.deepEqual(read.json(), { found: 1 }, `request ${n}`)
    }
    for (const line of (await registry.metrics()).split('\n')) {
      const [, outcome, count] = /^rhone_db_reads_total\{outcome="(\w+)"\} (\d+)/.exec(line) ?? []
      if (outcome !== undefined) outcomes.set(outcome, Number(count))
    }
    t.diagnostic(JSON.stringify([...outcomes]))
    assert.ok(outcomes.get('replica')! > 500, 'the replica answers most')
    assert.ok(outcomes.get('behind')! > 10, 'the primary answers where the replica cannot')
  })

  test('never shows a role older than five seconds, and fills no cache', async t => {
    const pair = await pairWithNotes(t)
    await pair.primary.ask(`insert into notes values ('ada', 'owner')`)
    await pair.caughtUp()
    const app = await instance(t, { url: pair.url, replicaUrl: pair.standby.url })
    const { copies } = app.postgres
    await eventually(() => copies!.canRead)
    const within = <T>(work: () => Promise<T>) =>
      new Promise<T>((resolve, reject) => {
        copies!.within({ position: null, mayBeOld: false }, () => void work().then(resolve, reject))
      })
    const seen = () => within(async () => (await app.postgres.reads.select().from(notes))[0]!.role)
    const cached = () =>
      within(() => app.cache.of<string | null>('roles', { ttl: 60_000 }).get('ada', () => roleFrom(app)))
    assert.equal(await seen(), 'owner')

    await pause(pair.standby)
    await pair.primary.ask(`update notes set role = 'viewer'`)
    const changedAt = performance.now()
    assert.equal(await cached(), 'viewer')
    await eventually(() => performance.now() - changedAt >= 5_000)
    assert.equal(await seen(), 'viewer')
    await resume(pair.standby)
  })

  test('without a primary serves public reads, and after five seconds nothing that needs authentication', async t => {
    const pair = await pairWithNotes(t)
    await pair.primary.ask(`insert into notes values ('ada', 'owner')`)
    await pair.caughtUp()
    const app = await instance(t, { url: pair.url, replicaUrl: pair.standby.url })
    const { copies } = app.postgres
    await eventually(() => copies!.canRead)
    const read = (mayBeOld: boolean) =>
      new Promise<boolean>(resolve => {
        copies!.within({ position: null, mayBeOld }, () => {
          resolve(
            succeeds(
              app.postgres.reads
                .select()
                .from(notes)
                .then(rows => assert.equal(rows.length, 1))
            )
          )
        })
      })
    await eventually(() => read(false))
    await pair.primary.kill()
    await eventually(async () => !(await read(false)))
    assert.equal(await read(true), true)
    assert.equal(copies!.role, 'replica')
    assert.equal((await app.inject({ method: 'GET', url: '/notes/ada' })).statusCode, 503)

    await pair.standby.promote()
    await eventually(() => copies!.role === 'primary')
    await eventually(() => succeeds(insert(app, 'after')))
    assert.equal((await app.inject({ method: 'GET', url: '/notes/ada' })).statusCode, 200)
  })
})

test('a server near a replica accepts no caller by data older than five seconds when its primary is silent', async t => {
  const pair = await replicatedPair(t, { migrated: true })
  const { app, token } = await testApp(t, {
    DATABASE_URL: pair.url,
    DATABASE_REPLICA_URL: pair.standby.url,
    RATE_LIMIT_GENERAL: '1000/s:1000',
    RATE_LIMIT_USER: '1000/s:1000'
  })
  const { copies } = app.postgres
  await eventually(() => copies!.canRead)
  const minted = await app.inject({
    method: 'POST',
    url: '/api/v1/auth/token',
    headers: { authorization: `Bearer ${token}` },
    payload: {}
  })
  assert.equal(minted.statusCode, 201, minted.body)
  const [user] = await pair.primary.ask<{ id: string; username: string }>('select id, username from users')
  const browser = { headers: {} } as FastifyRequest
  const { cookie } = await app.session.begin(null, browser, { ...user!, isOperator: true }, 'link')
  const credentials = {
    'API token': { authorization: `Bearer ${token}` },
    'access token': { authorization: `Bearer ${minted.json().accessToken}` },
    session: { cookie: cookie.split(';')[0]! }
  }
  const statusWith = async (headers: Record<string, string>) =>
    (await app.inject({ url: '/api/v1/apps', headers })).statusCode
  for (const headers of Object.values(credentials))
    await eventually(
      () => statusWith(headers),
      status => status === 200
    )

  pair.primary.proxy.freeze()
  await pair.primary.ask(`update api_tokens set revoked_at = now(); delete from sessions`)
  const revokedAt = performance.now()
  const lastIn = new Map<string, number>()
  const over = new Set<string>()
  await eventually(async () => {
    for (const [name, headers] of Object.entries(credentials)) {
      const askedAt = performance.now() - revokedAt
      const status = await statusWith(headers)
      if (status === 200) lastIn.set(name, askedAt)
      else if (askedAt > 6_000) over.add(name)
    }
    return over.size === 3
  })
  for (const [name, after] of lastIn) {
    t.diagnostic(`${name}: let in until ${Math.round(after)} ms after it was revoked`)
    assert.ok(after < 5_000, `${name}: ${after} ms`)
  }
  pair.primary.proxy.thaw()
})

test('rotating the database also switches its replicas to the new role, without a failed read', async t => {
  const pair = await replicatedPair(t, { migrated: true })
  await pair.primary.ask(`create role rhone superuser login password 'first'`)
  await pair.caughtUp()
  const as = (url: string, role: string) => url.replace(/\/\/[^@]*@/, `//${role}@`)
  const secrets = await place(t, { DATABASE_URL: as(pair.url, 'rhone:first') })
  const { app, environment } = await server(t, secrets, {
    DATABASE_REPLICA_URL: pair.standby.url.replace(/\/\/[^@]*@/, '//')
  })
  await eventually(() => app.postgres.copies!.canRead)
  const token = (await readFile(join(environment.DATA_DIR!, 'operator-token'), 'utf8')).trim()
  const read = async () =>
    (await app.inject({ url: '/api/v1/apps', headers: { authorization: `Bearer ${token}` } })).statusCode
  const rolesOn = async (node: PairNode) => {
    const rows = await node.ask<{ role: string }>(
      `select distinct usename::text as role from pg_stat_activity
        where application_name like 'rhone%' and usename <> 'postgres' order by 1`
    )
    return rows.map(({ role }) => role).join()
  }
  assert.equal(await read(), 200)
  await eventually(
    () => rolesOn(pair.standby),
    roles => roles === 'rhone'
  )

  const over = new AbortController()
  const statuses = new Set<number>()
  const load = (async () => {
    while (!over.signal.aborted) statuses.add(await read())
  })()
  await secrets.write({ DATABASE_ADMIN_URL: pair.url })
  const { code, stderr } = await rhone(['secrets', 'rotate', 'database', '--wait', '60'], environment)
  assert.equal(code, 0, stderr)
  for (const node of [pair.primary, pair.standby])
    await eventually(
      () => rolesOn(node),
      roles => roles === 'rhone_a'
    )
  over.abort()
  await load
  assert.deepEqual([...statuses], [200])
  const [old] = await pair.standby.ask(`select rolcanlogin as "maylogin" from pg_roles where rolname = 'rhone'`)
  assert.deepEqual(old, { maylogin: false })
})

test('rhone failover refuses while the primary answers, promotes once it is down, and prints the next steps', async t => {
  const pair = await pairWithNotes(t)
  const directory = await mkdtemp(join(tmpdir(), 'rhone-failover-'))
  t.after(() => rm(directory, { recursive: true, force: true }))
  const environment = { DATABASE_URL: pair.url, DATA_DIR: directory }

  const refused = await rhone(['failover'], environment)
  assert.equal(refused.code, 1)
  assert.match(refused.stdout, new RegExp(`refused: ${pair.primary.address} answers as the primary`))
  assert.equal((await rhone(['failover', '--max-lag', 'soon'], environment)).code, 2)

  pair.primary.proxy.freeze()
  const hanging = await rhone(['failover', '--json'], environment)
  assert.match(JSON.parse(hanging.stdout).refusal, /does not answer/)
  pair.primary.proxy.thaw()

  await pair.primary.kill()
  const planned = await eventually(
    () => rhone(['failover', '--check', '--json'], environment),
    ({ code }) => code === 0
  )
  assert.equal(JSON.parse(planned.stdout).candidate, pair.standby.address)
  const { code, stdout, stderr } = await rhone(['failover', '--json'], environment)
  assert.equal(code, 0, stderr)
  const { promoted, timeline, next } = JSON.parse(stdout)
  assert.deepEqual({ promoted, timeline }, { promoted: pair.standby.address, timeline: 2 })
  assert.match(next.join(' '), /pg_rewind/)
  await pair.standby.ask(`insert into notes values ('written', null)`)

  await pair.primary.start()
  const again = await rhone(['failover', '--json'], environment)
  assert.equal(again.code, 1)
})

async function roleFrom(app: FastifyInstance): Promise<string | null> {
  const [row] = await app.db.select().from(notes)
  return row!.role
}

/** Leads, or waits to lead, as long as the test runs. */
function leader(t: TestContext, app: FastifyInstance): { readonly leads: boolean } {
  const ending = new AbortController()
  const state = { leads: false }
  const over = whileLeading(
    {
      target: () => app.postgres.locate(),
      onChange: callback => app.postgres.onCredentials(callback),
      name: 'regions-test',
      retryInterval: 200
    },
    ending.signal,
    async signal => {
      state.leads = true
      await new Promise(resolve => signal.addEventListener('abort', resolve, { once: true }))
      state.leads = false
    }
  )
  t.after(async () => {
    ending.abort()
    await over
  })
  return state
}
