import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { sql } from 'drizzle-orm'
import Fastify from 'fastify'
import database from '../../../plugins/database/index.ts'
import { type AuditFilters, listAudit } from '../../../src/domain/audit/events.ts'
import type { AuditRow } from '../../../src/domain/audit/log.ts'
import type { Db } from '../../../src/domain/base/db.ts'
import { freshDatabase } from '../../support/database.ts'
import { auditLog, openDatabase } from '../support.ts'

const row = (over: Partial<AuditRow> = {}): AuditRow => ({
  id: randomUUID(),
  createdAt: new Date(),
  eventType: 'app',
  action: 'create',
  resource: 'app',
  ...over
})

const namesOf = async (db: Db, filters: AuditFilters) =>
  (await listAudit(db, filters, {})).items.map(item => item.resourceName).sort()

test('each filter finds its rows, and several filters combine', async t => {
  const db = await openDatabase(t)
  const [user, team, app] = [randomUUID(), randomUUID(), randomUUID()]
  const past = new Date(Date.now() - 86_400_000)
  await auditLog.writeMany(db, [
    row({ resourceName: 'plain' }),
    row({ resourceName: 'typed', eventType: 'team' }),
    row({ resourceName: 'acted', action: 'delete' }),
    row({ resourceName: 'denied', outcome: 'denied' }),
    row({ resourceName: 'by user', userId: user, actor: 'ada' }),
    row({ resourceName: 'in team', teamId: team }),
    row({ resourceName: 'of app', appId: app, teamId: team }),
    row({ resourceName: 'past', createdAt: past })
  ])
  assert.equal((await namesOf(db, {})).length, 8)
  assert.deepEqual(await namesOf(db, { type: 'team' }), ['typed'])
  assert.deepEqual(await namesOf(db, { action: 'delete' }), ['acted'])
  assert.deepEqual(await namesOf(db, { outcome: 'denied' }), ['denied'])
  assert.deepEqual(await namesOf(db, { userId: user }), ['by user'])
  assert.deepEqual(await namesOf(db, { actor: 'ada' }), ['by user'])
  assert.deepEqual(await namesOf(db, { teamId: team }), ['in team', 'of app'])
  assert.deepEqual(await namesOf(db, { appId: app }), ['of app'])
  assert.deepEqual(await namesOf(db, { until: new Date(Date.now() - 3_600_000) }), ['past'])
  assert.equal((await namesOf(db, { since: new Date(Date.now() - 3_600_000) })).length, 7)
  assert.deepEqual(await namesOf(db, { since: past, until: past }), [])
  assert.deepEqual(await namesOf(db, { teamId: team, outcome: 'denied' }), [])
})

test('a word search gets a plan for its words, however often the statement has run', async t => {
  const app = Fastify()
  await app.register(database, { url: await freshDatabase(t), poolMax: 1 })
  t.after(() => app.close())
  await app.db.execute(sql`
    insert into audit_logs (event_type, action, resource, resource_name)
    select 'app', 'create', 'app', 'app ' || n from generate_series(1, 500) n`)
  for (let run = 0; run < 10; run++) {
    const { items } = await listAudit(app.db, { text: 'app 499' }, {})
    assert.equal(items.length, 1)
  }
  const [plans] = await app.db.execute<{ custom: string; generic: string }>(sql`
    select sum(custom_plans) as custom, sum(generic_plans) as generic
    from pg_prepared_statements where statement like 'select "id"%audit_words%'`)
  assert.deepEqual({ ...plans }, { custom: '10', generic: '0' })
})

test('pages have no gaps or duplicates, even among rows of the same time', async t => {
  const db = await openDatabase(t)
  await db.execute(sql`
    insert into audit_logs (event_type, action, resource, resource_name, created_at)
    select 'app', 'create', 'app', n::text, timestamptz '2026-01-01' + (n / 7) * interval '1 microsecond'
    from generate_series(1, 50) n`)
  const seen: string[] = []
  let cursor: string | undefined
  do {
    const page = await listAudit(db, {}, { limit: 8, cursor })
    seen.push(...page.items.map(item => item.id))
    cursor = page.nextCursor ?? undefined
    await auditLog.write(db, row())
  } while (cursor !== undefined)
  assert.equal(new Set(seen).size, 50)
  assert.equal(seen.length, 50)
})

test('a forged cursor is refused', async t => {
  const db = await openDatabase(t)
  await assert.rejects(listAudit(db, {}, { cursor: 'bm9uc2Vuc2U' }), { code: 'VALIDATION_ERROR' })
})

test('a batch that is written again creates no duplicates', async t => {
  const db = await openDatabase(t)
  const rows = [row(), row()]
  await auditLog.writeMany(db, rows)
  await auditLog.writeMany(db, rows)
  assert.equal((await listAudit(db, {}, {})).items.length, 2)
})

test('rows cannot be changed or removed', async t => {
  const db = await openDatabase(t)
  await auditLog.write(db, row())
  for (const statement of [
    sql`update audit_logs set actor = 'x'`,
    sql`delete from audit_logs`,
    sql`truncate audit_logs`
  ])
    await assert.rejects(Promise.resolve(db.execute(statement)))
  assert.equal((await listAudit(db, {}, {})).items.length, 1)
})
