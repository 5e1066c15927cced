import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { describe, type TestContext, test } from 'node:test'
import { sql } from 'drizzle-orm'
import Fastify, { type FastifyInstance } from 'fastify'
import database from '../../plugins/database/index.ts'
import idempotency, { type IdempotencyDeps, type IdempotencyOptions } from '../../plugins/idempotency/index.ts'
import { errors } from '../../plugins/lib/errors.ts'
import { freshDatabase } from '../support/database.ts'
import { eventually } from '../support/eventually.ts'
import { stays } from '../support/stays.ts'

type Setup = Partial<IdempotencyOptions & IdempotencyDeps>

/** An app that creates a team per POST, with the caller in a header. */
async function setup(t: TestContext, options: Setup = {}, url?: string) {
  const app = Fastify()
  t.after(() => app.close())
  await app.register(database, { url: url ?? (await freshDatabase(t)), poolMax: 5, lockTimeout: 0 })
  const owner: IdempotencyDeps['owner'] = request => request.headers['x-user'] as string | undefined
  await app.register(idempotency, Object.freeze({ owner, ...options }))

  const state = { work: async () => {}, requests: 0, runs: 0 }
  app.addHook('onRequest', async () => void state.requests++)
  app.post<{ Params: { team: string }; Body: { name: string } }>('/teams/:team', (request, reply) =>
    app.db
      .transaction(tx =>
        app.idempotency.run(tx, request, async () => {
          state.runs++
          await tx.execute(sql`insert into teams (name, slug) values (${request.body.name}, ${request.params.team})`)
          await state.work()
          const body = { name: request.body.name, token: 'secret' }
          return { status: 201, headers: { location: '/x' }, body, storedBody: { name: body.name } }
        })
      )
      .then(({ status, headers = {}, body }) => reply.code(status).headers(headers).send(body))
  )
  app.delete('/teams/:team', async (request, reply) => {
    const result = await app.db.transaction(tx => app.idempotency.run(tx, request, async () => ({ status: 204 })))
    return reply
      .code(result.status)
      .headers(result.headers ?? {})
      .send(result.body)
  })
  await app.ready()
  return { app, state }
}

const post = (app: FastifyInstance, slug: string, key?: string, body: object = { name: 'Ada' }, user = 'ada') =>
  app.inject({
    method: 'POST',
    url: `/teams/${slug}`,
    headers: { ...(user && { 'x-user': user }), ...(key !== undefined && { 'idempotency-key': key }) },
    payload: body
  })

const count = async (app: FastifyInstance, table: 'teams' | 'idempotency_keys'): Promise<number> => {
  const [row] = await app.db.execute<{ n: number }>(sql`select count(*)::int as n from ${sql.identifier(table)}`)
  return row?.n ?? 0
}

describe('a repeated request', () => {
  test('gets the first reply again and changes nothing', async t => {
    const { app, state } = await setup(t)
    const first = await post(app, 'a', 'k1')
    const second = await post(app, 'a', 'k1')
    assert.deepEqual([first.statusCode, second.statusCode], [201, 201])
    assert.deepEqual([first.headers.location, second.headers.location], ['/x', '/x'])
    assert.deepEqual([first.headers['idempotent-replayed'], second.headers['idempotent-replayed']], [undefined, 'true'])
    assert.equal(state.runs, 1)
    assert.equal(await count(app, 'teams'), 1)
  })

  test('does not get a secret that is shown only once', async t => {
    const { app } = await setup(t)
    assert.deepEqual((await post(app, 'a', 'k1')).json(), { name: 'Ada', token: 'secret' })
    assert.deepEqual((await post(app, 'a', 'k1')).json(), { name: 'Ada' })
    const [row] = await app.db.execute<{ text: string }>(
      sql`select idempotency_keys::text as text from idempotency_keys`
    )
    assert.doesNotMatch(row?.text ?? '', /secret/)
  })

  test('may be a request without a body', async t => {
    const { app } = await setup(t)
    const remove = () =>
      app.inject({ method: 'DELETE', url: '/teams/a', headers: { 'x-user': 'ada', 'idempotency-key': 'k' } })
    await remove()
    const again = await remove()
    assert.deepEqual([again.statusCode, again.body, again.headers['idempotent-replayed']], [204, '', 'true'])
  })

  test('is the same request with the keys of its body in any order', async t => {
    const { app } = await setup(t)
    await post(app, 'a', 'k1', { name: 'Ada', more: { x: 1, y: [2, { z: 3, w: 4 }] } })
    const again = await post(app, 'a', 'k1', { more: { y: [2, { w: 4, z: 3 }], x: 1 }, name: 'Ada' })
    assert.equal(again.headers['idempotent-replayed'], 'true')
  })

  test('with another body, URL or method is refused', async t => {
    const { app } = await setup(t)
    await post(app, 'a', 'k1')
    const others = [
      await post(app, 'a', 'k1', { name: 'Bob' }),
      await post(app, 'b', 'k1'),
      await app.inject({ method: 'DELETE', url: '/teams/a', headers: { 'x-user': 'ada', 'idempotency-key': 'k1' } })
    ]
    for (const reply of others) assert.deepEqual([reply.statusCode, reply.json().code], [422, 'IDEMPOTENCY_MISMATCH'])
    assert.equal(await count(app, 'teams'), 1)
  })

  test('of another user is another request', async t => {
    const { app, state } = await setup(t)
    await post(app, 'a', 'k1')
    await post(app, 'b', 'k1', { name: 'Ada' }, 'bob')
    assert.equal(state.runs, 2)
  })

  test('runs again after an error, because nothing was stored', async t => {
    const { app, state } = await setup(t)
    state.work = async () => {
      throw errors.conflict('not now')
    }
    assert.equal((await post(app, 'a', 'k1')).statusCode, 409)
    assert.deepEqual([await count(app, 'teams'), await count(app, 'idempotency_keys')], [0, 0])
    state.work = async () => {}
    assert.equal((await post(app, 'a', 'k1')).statusCode, 201)
  })
})

describe('the stored fingerprint', () => {
  test('reveals nothing: even a short secret cannot be found by trying all', async t => {
    const { app } = await setup(t)
    await post(app, 'a', 'k1', { name: 'Ada', pin: '031415' } as object)
    const [row] = await app.db.execute<{ fingerprint: Buffer }>(sql`select fingerprint from idempotency_keys`)
    const request = JSON.stringify(['POST', '/teams/a', { name: 'Ada', pin: '031415' }])
    const guess = createHash('sha256').update(request).digest()
    assert.ok(!row!.fingerprint.includes(guess) && !row!.fingerprint.includes(guess.toString('base64url')))
  })

  test('is compared under each key of the ring, and ignored if its key was removed', async t => {
    const url = await freshDatabase(t)
    const [one, two, three] = ['1', '2', '3'].map(id => [id, randomBytes(32)] as const)
    const ring = (...keys: (readonly [string, Buffer] | undefined)[]) => {
      const entries = keys.map(entry => entry!)
      return { current: { id: entries[0]![0], key: entries[0]![1] }, keys: new Map(entries) }
    }
    const before = await setup(t, { keys: ring(one) }, url)
    const during = await setup(t, { keys: ring(two, one) }, url)
    const after = await setup(t, { keys: ring(three) }, url)
    await post(before.app, 'a', 'k1')
    assert.equal((await post(during.app, 'a', 'k1')).headers['idempotent-replayed'], 'true')
    assert.equal((await post(during.app, 'b', 'k1')).statusCode, 422)
    assert.equal((await post(after.app, 'b', 'k1')).headers['idempotent-replayed'], 'true')

    await before.app.db.execute(sql`update idempotency_keys set fingerprint = sha256('as an older version did it')`)
    assert.equal((await post(before.app, 'a', 'k1')).headers['idempotent-replayed'], 'true')
    assert.equal(before.state.runs + during.state.runs + after.state.runs, 1)
  })
})

describe('the same request many times at once', () => {
  test('runs once, and all get the same reply', async t => {
    const url = await freshDatabase(t)
    const instances = [await setup(t, {}, url), await setup(t, {}, url)]
    const requests = () => instances.reduce((sum, { state }) => sum + state.requests, 0)
    for (const { state } of instances) state.work = async () => void (await eventually(() => requests() === 8))
    const replies = await Promise.all(
      Array.from({ length: 8 }, (_, i) => post(instances[i % 2]?.app as FastifyInstance, 'a', 'k1'))
    )
    assert.deepEqual(
      replies.map(reply => reply.statusCode),
      Array(8).fill(201)
    )
    assert.equal(replies.filter(reply => reply.headers['idempotent-replayed'] === undefined).length, 1)
    assert.equal(
      instances.reduce((sum, { state }) => sum + state.runs, 0),
      1
    )
  })

  test('waits no longer than the lock timeout for the first one', async t => {
    const { app, state } = await setup(t, { lockTimeout: 100 })
    const { promise, resolve } = Promise.withResolvers<void>()
    state.work = () => promise
    const first = post(app, 'a', 'k1')
    await eventually(() => state.runs > 0)
    const second = await post(app, 'a', 'k1')
    assert.deepEqual([second.statusCode, second.json().code], [409, 'CONFLICT'])
    resolve()
    assert.equal((await first).statusCode, 201)
  })

  test('runs the next one if the first one fails', async t => {
    const { app, state } = await setup(t)
    state.work = async () => {
      await eventually(() => state.requests === 2)
      if (state.runs === 1) throw errors.conflict('not now')
    }
    const replies = await Promise.all([post(app, 'a', 'k1'), post(app, 'a', 'k1')])
    assert.deepEqual(replies.map(reply => reply.statusCode).sort(), [201, 409])
    assert.equal(await count(app, 'teams'), 1)
  })
})

describe('the key', () => {
  test('is 1 to 255 visible ASCII characters', async t => {
    const { app, state } = await setup(t)
    for (const key of ['', ' ', 'a b', 'x'.repeat(256), 'é', 'a, b'])
      assert.equal((await post(app, 'a', key)).statusCode, 400, JSON.stringify(key))
    assert.equal(state.runs, 0)
    assert.equal((await post(app, 'a', `!${'x'.repeat(253)}~`)).statusCode, 201)
  })

  test('requires an authenticated caller', async t => {
    const { app } = await setup(t)
    assert.equal((await post(app, 'a', 'k1', { name: 'Ada' }, '')).statusCode, 400)
  })

  test('is optional', async t => {
    const { app, state } = await setup(t)
    await post(app, 'a')
    await post(app, 'b')
    assert.equal(state.runs, 2)
    assert.equal(await count(app, 'idempotency_keys'), 0)
  })
})

describe('old replies', () => {
  test('are removed after their time, the others are kept', async t => {
    const { app } = await setup(t, { purgeInterval: 20, retention: 24 })
    await post(app, 'a', 'old')
    await post(app, 'b', 'new')
    await app.db.execute(sql`update idempotency_keys set created_at = now() - interval '25 hours' where key = 'old'`)
    await eventually(async () => (await count(app, 'idempotency_keys')) < 2)
    await stays(async () => (await count(app, 'idempotency_keys')) === 1)
    assert.equal((await post(app, 'b', 'new')).headers['idempotent-replayed'], 'true')
  })

  test('cannot be kept for less than a day', () =>
    assert.rejects(async () => {
      const app = Fastify()
      app.register(idempotency, { retention: 23 })
      await app.ready()
    }, /rhone-idempotency: option "retention"/))

  test('whose removal fails cause no error', async t => {
    let calls = 0
    const purge = async () => {
      calls++
      throw new Error('away')
    }
    const app = Fastify()
    t.after(() => app.close())
    await app.register(idempotency, { purge, purgeInterval: 5 })
    await app.ready()
    await eventually(() => calls >= 2)
    await app.close()
    const after = calls
    await stays(() => calls === after)
  })
})

test('it starts and stops on an app without a database', async () => {
  const app = Fastify()
  await app.register(idempotency)
  await app.ready()
  await app.close()
})

test('a lock on the whole table is not mistaken for another request with the same key', async t => {
  const { app } = await setup(t, { lockTimeout: 100 })
  await app.db.transaction(async tx => {
    await tx.execute(sql`lock table idempotency_keys in access exclusive mode`)
    assert.equal((await post(app, 'a', 'k1')).statusCode, 503)
  })
  assert.equal((await post(app, 'a', 'k1')).statusCode, 201)
})
