import assert from 'node:assert/strict'
import { test } from 'node:test'
import { testApp } from '../support/app.ts'
import { databaseOf, freshDatabase, terminateBackends, withCluster } from '../support/database.ts'
import { eventually } from '../support/eventually.ts'

test('a read-only database makes the server not ready and writes fail with 503, until it accepts writes again', async t => {
  const url = await freshDatabase(t)
  const { as, token } = await testApp(t, { DATABASE_URL: url })
  const ready = () => as(null, 'GET', '/ready')
  const create = (name: string) => as(token, 'POST', '/api/v1/apps', { name })
  assert.equal((await ready()).statusCode, 200)

  await withCluster(sql => sql`alter database ${sql(databaseOf(url))} set default_transaction_read_only = on`)
  await terminateBackends(url)
  const refused = await eventually(
    () => create('refused'),
    reply => reply.json().error?.detail !== 'The database cannot be reached'
  )
  assert.equal(refused.statusCode, 503)
  assert.equal(refused.headers['retry-after'], '1')
  assert.match(refused.json().error.detail, /^database_readonly: /)
  assert.equal((await as(token, 'GET', '/api/v1/apps')).statusCode, 200)
  // The first probe may use the connection that was ended.
  await eventually(ready, reply => reply.json().reasons?.[0] === 'database_readonly')

  await withCluster(sql => sql`alter database ${sql(databaseOf(url))} reset default_transaction_read_only`)
  await eventually(ready, reply => reply.statusCode === 200)
  assert.equal((await create('after')).statusCode, 201)
})
