import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { eq, sql } from 'drizzle-orm'
import Fastify, { type FastifyInstance } from 'fastify'
import { teamMembers, teams, users } from '../../../drizzle/schema.ts'
import auth from '../../../plugins/auth/index.ts'
import database from '../../../plugins/database/index.ts'
import { hashToken, mintToken } from '../../../plugins/lib/token.ts'
import { createFirstOperator, grantOperator, revokeOperator } from '../../../src/domain/accounts/operators.ts'
import { AUTH_CHANNEL, createToken, tokenVerifier } from '../../../src/domain/accounts/tokens.ts'
import { listAudit } from '../../../src/domain/audit/events.ts'
import type { Db } from '../../../src/domain/base/db.ts'
import { ensureFirstOperator } from '../../../src/wiring/first-operator.ts'
import { stopClock } from '../../support/clock.ts'
import { freshDatabase } from '../../support/database.ts'
import { eventually } from '../../support/eventually.ts'
import { auditLog } from '../support.ts'

async function open(t: TestContext, url: string): Promise<FastifyInstance> {
  const app = Fastify()
  t.after(() => app.close())
  await app.register(database, { url, poolMax: 3, queueTimeout: 10_000 })
  return app
}

async function openDb(t: TestContext): Promise<Db> {
  return (await open(t, await freshDatabase(t))).db
}

async function directory(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'rhone-operator-'))
  t.after(() => rm(path, { recursive: true, force: true }))
  return path
}

const tokenIn = async (dir: string) => (await readFile(join(dir, 'operator-token'), 'utf8')).trim()
const principalOf = (db: Db, token: string) => tokenVerifier(() => db).verify(hashToken(token))
const countUsers = async (db: Db) => db.$count(users)

describe('the first operator', () => {
  test('is created on an empty database, with a team and a token with all scopes', async t => {
    const db = await openDb(t)
    const dir = join(await directory(t), 'made', 'for', 'it')
    const result = await ensureFirstOperator(db, auditLog, dir, 'pro')
    assert.deepEqual(result, { path: join(dir, 'operator-token'), created: true })

    const principal = await principalOf(db, await tokenIn(dir))
    assert.equal(principal?.username, 'operator')
    assert.equal(principal?.isOperator, true)
    assert.deepEqual(principal?.scopes, ['read', 'deploy', 'admin'])
    const [team] = await db
      .select({ name: teams.name, slug: teams.slug, plan: teams.plan, role: teamMembers.role })
      .from(teams)
      .innerJoin(teamMembers, eq(teamMembers.teamId, teams.id))
    assert.deepEqual(team, { name: "operator's Team", slug: 'operator', plan: 'pro', role: 'owner' })
    const { items } = await listAudit(db, {}, {})
    assert.deepEqual(
      items.map(item => [item.type, item.action, item.resource, item.resourceName]),
      [['admin', 'create', 'operator', 'operator']]
    )
  })

  test('has a token file that nobody else can read, and no other file', async t => {
    const db = await openDb(t)
    const dir = await directory(t)
    await chmod(dir, 0o755)
    await ensureFirstOperator(db, auditLog, dir, 'pro')
    assert.deepEqual(await readdir(dir), ['operator-token'])
    assert.equal((await stat(join(dir, 'operator-token'))).mode & 0o777, 0o600)
  })

  test('is created once by any number of instances that start together, with one directory or several', async t => {
    for (const isShared of [true, false]) {
      const url = await freshDatabase(t)
      const shared = await directory(t)
      const starts = await Promise.all(
        Array.from({ length: 4 }, async () => {
          const dir = isShared ? shared : await directory(t)
          const { db } = await open(t, url)
          return { db, dir, ...(await ensureFirstOperator(db, auditLog, dir, 'pro')) }
        })
      )
      const made = starts.filter(start => start.created)
      assert.equal(made.length, 1)
      const [{ db, dir }] = made as [(typeof made)[number]]
      assert.equal(await countUsers(db), 1)
      assert.equal((await principalOf(db, await tokenIn(dir)))?.isOperator, true)
      if (isShared) assert.deepEqual(await readdir(dir), ['operator-token'])
    }
  })

  test('is not created again, and its token is kept', async t => {
    const db = await openDb(t)
    const dir = await directory(t)
    await ensureFirstOperator(db, auditLog, dir, 'pro')
    const token = await tokenIn(dir)
    assert.equal((await ensureFirstOperator(db, auditLog, dir, 'pro')).created, false)
    assert.equal(await tokenIn(dir), token)
    await rm(join(dir, 'operator-token'))
    assert.equal((await ensureFirstOperator(db, auditLog, dir, 'pro')).created, false)
    assert.deepEqual(await readdir(dir), [], 'the file was removed on purpose')
  })

  test('is not created if there are users', async t => {
    const db = await openDb(t)
    const dir = await directory(t)
    await db.insert(users).values({ username: 'ada' })
    assert.equal((await ensureFirstOperator(db, auditLog, dir, 'pro')).created, false)
    assert.equal(await countUsers(db), 1)
    assert.deepEqual(await readdir(dir), [])
  })

  test('survives a crash between the database commit and the file', async t => {
    const db = await openDb(t)
    const dir = await directory(t)
    const token = await createFirstOperator(db, auditLog, 'pro')
    await writeFile(join(dir, 'operator-token.pending'), `${token}\n`, { mode: 0o600 })
    assert.equal((await ensureFirstOperator(db, auditLog, dir, 'pro')).created, false)
    assert.equal(await tokenIn(dir), token)
    assert.deepEqual(await readdir(dir), ['operator-token'])
  })

  test('leaves nothing after a crash before the database commit, and is created later', async t => {
    const db = await openDb(t)
    const dir = await directory(t)
    await writeFile(join(dir, 'operator-token.pending'), `${mintToken()}\n`, { mode: 0o644 })
    assert.equal((await ensureFirstOperator(db, auditLog, dir, 'pro')).created, true)
    assert.equal((await principalOf(db, await tokenIn(dir)))?.isOperator, true)
    assert.equal((await stat(join(dir, 'operator-token'))).mode & 0o777, 0o600)

    await writeFile(join(dir, 'operator-token.pending'), `${mintToken()}\n`)
    const token = await tokenIn(dir)
    assert.equal((await ensureFirstOperator(db, auditLog, dir, 'pro')).created, false)
    assert.equal(await tokenIn(dir), token)
    assert.deepEqual(await readdir(dir), ['operator-token'])
  })

  test('is not created when any part fails, and is created by the next attempt', async t => {
    const db = await openDb(t)
    const dir = await directory(t)
    await db.execute(sql`alter table audit_logs add constraint closed check (action <> 'create')`)
    await assert.rejects(ensureFirstOperator(db, auditLog, dir, 'pro'))
    assert.deepEqual([await countUsers(db), await db.$count(teams)], [0, 0])
    await db.execute(sql`alter table audit_logs drop constraint closed`)
    assert.equal((await ensureFirstOperator(db, auditLog, dir, 'pro')).created, true)
    assert.equal((await principalOf(db, await tokenIn(dir)))?.isOperator, true)
  })

  test('is not created if its token file cannot be written', async t => {
    const db = await openDb(t)
    const dir = await directory(t)
    const file = join(dir, 'a-file')
    await writeFile(file, '')
    await assert.rejects(ensureFirstOperator(db, auditLog, file, 'pro'))
    assert.equal(await countUsers(db), 0)
  })
})

describe('granting and revoking', () => {
  const by = { name: 'cli' }

  async function twoUsers(t: TestContext) {
    const db = await openDb(t)
    const [ada, bob] = await db
      .insert(users)
      .values([{ username: 'ada', isAdmin: true }, { username: 'bob' }])
      .returning()
    return { db, ada: ada?.id as string, bob: bob?.id as string }
  }
  const operators = async (db: Db) =>
    (await db.select({ name: users.username }).from(users).where(eq(users.isAdmin, true)))
      .map(({ name }) => name)
      .sort()
  const events = async (db: Db) =>
    (await listAudit(db, {}, {})).items.map(item => [item.action, item.resourceName, item.actor]).reverse()

  test('accepts a name or an id, is audited, and is idempotent', async t => {
    const { db, bob } = await twoUsers(t)
    await grantOperator(db, auditLog, 'bob', by)
    await grantOperator(db, auditLog, 'bob', by)
    assert.deepEqual(await operators(db), ['ada', 'bob'])
    await revokeOperator(db, auditLog, bob, { id: bob, name: 'bob' })
    await revokeOperator(db, auditLog, bob, by)
    assert.deepEqual(await operators(db), ['ada'])
    assert.deepEqual(await events(db), [
      ['grant', 'bob', 'cli'],
      ['revoke', 'bob', 'bob']
    ])
  })

  test('never leaves the platform without an operator', async t => {
    const { db, ada, bob } = await twoUsers(t)
    await assert.rejects(revokeOperator(db, auditLog, 'ada', by), { code: 'CONFLICT' })
    await grantOperator(db, auditLog, 'bob', by)
    const results = await Promise.allSettled([
      revokeOperator(db, auditLog, ada, by),
      revokeOperator(db, auditLog, bob, by)
    ])
    assert.deepEqual(results.map(result => result.status).sort(), ['fulfilled', 'rejected'])
    assert.equal((await operators(db)).length, 1)
  })

  test('finds nobody for a wrong name, and refuses an ambiguous name', async t => {
    const { db } = await twoUsers(t)
    for (const who of ['nobody', randomUUID()])
      await assert.rejects(grantOperator(db, auditLog, who, by), { code: 'NOT_FOUND' })
    await db.insert(users).values({ username: 'bob' })
    await assert.rejects(grantOperator(db, auditLog, 'bob', by), { code: 'CONFLICT', message: /use the id/ })
  })

  test('takes effect immediately on a running server', async t => {
    const url = await freshDatabase(t)
    const app = await open(t, url)
    await app.register(auth, { verifier: tokenVerifier(() => app.db) })
    app.get('/admin', { config: { access: 'operator' } }, () => 'ok')
    await new Promise<void>(resolve => app.postgres.listen(AUTH_CHANNEL, app.auth.forget, resolve))
    const [ada] = await app.db.insert(users).values({ username: 'ada', isAdmin: true }).returning()
    const [bob] = await app.db.insert(users).values({ username: 'bob', isAdmin: true }).returning()
    assert.ok(ada && bob)
    const { token } = await createToken(app.db, { userId: bob.id, name: 'bob', scopes: ['admin'] })
    const status = async () =>
      (await app.inject({ url: '/admin', headers: { authorization: `Bearer ${token}` } })).statusCode
    assert.equal(await status(), 200)
    await revokeOperator(app.db, auditLog, 'bob', by)
    stopClock(t, performance) // so that memory does not read again by itself
    await eventually(async () => (await status()) !== 200)
    assert.equal(await status(), 403)
  })
})
