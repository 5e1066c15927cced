import assert from 'node:assert/strict'
import { test } from 'node:test'
import { sql } from 'drizzle-orm'
import { buildApp } from '../../src/app.ts'
import { createToken } from '../../src/domain/accounts/tokens.ts'
import { addTeam, addUser } from '../domain/support.ts'
import { testApp, testConfig } from '../support/app.ts'
import { freshDatabase } from '../support/database.ts'
import { eventually } from '../support/eventually.ts'

/** Access decisions may be five seconds old; a slow machine needs three times as long to act on them. */
const OLDEST = 15_000

test('an instance without notifications applies changed roles and tokens within five seconds', async t => {
  const DATABASE_URL = await freshDatabase(t)
  const one = await testApp(t, { DATABASE_URL })
  const other = await buildApp(await testConfig(t, { DATABASE_URL }))
  t.after(() => other.close())
  await other.ready()
  await other.startup.completed
  const member = await addUser(one.app.db)
  const team = await addTeam(one.app.db, { [member]: 'admin' })
  const { id, token } = await one.app.db.transaction(tx =>
    createToken(tx, { userId: member, name: 'test', scopes: ['read', 'deploy', 'admin'] })
  )
  const audit = async () => (await one.as(token, 'GET', `/api/v1/teams/${team.slug}/audit`)).statusCode
  const read = async () => (await one.as(token, 'GET', `/api/v1/teams/${team.slug}`)).statusCode
  assert.deepEqual([await audit(), await read()], [200, 200])

  const listeners = sql`from pg_stat_activity where datname = current_database() and application_name = 'rhone-listen'`
  const killed = async () => (await other.db.execute(sql`select pg_terminate_backend(pid) ${listeners}`)).length
  assert.ok((await killed()) > 0)
  await other.db.execute(sql`update team_members set role = 'member' where user_id = ${member}`)
  await eventually(audit, status => status === 403, OLDEST)
  assert.equal(await read(), 200)

  await eventually(async () => (await other.db.execute(sql`select pid ${listeners}`)).length === 2)
  assert.ok((await killed()) > 0)
  await other.db.execute(sql`update api_tokens set revoked_at = now() where id = ${id}`)
  await eventually(read, status => status === 401, OLDEST)
})
