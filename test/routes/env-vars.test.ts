import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { and, eq } from 'drizzle-orm'
import { auditLogs, envVars, idempotencyKeys } from '../../drizzle/schema.ts'
import { SecretBox } from '../../src/domain/base/secret-box.ts'
import { eventually } from '../support/eventually.ts'
import { errorOf, platform } from './support.ts'

const server = await platform({ after })
const { team, owner, admin, member, stranger } = await server.addPeople()
const app = (await owner.call('POST', '/api/v1/apps', { name: 'with secrets' })).json()
const url = `/api/v1/apps/${app.slug}/env`
const SECRET = 'correct horse battery staple'

test('PUT sets a variable, 201 when it is new and 200 when it was there, and never reveals its value', async () => {
  const created = await admin.call('PUT', `${url}/API_KEY`, { value: 'first' })
  assert.equal(created.statusCode, 201)
  assert.deepEqual(Object.keys(created.json()), ['key', 'version', 'buildTime', 'createdAt', 'updatedAt'])
  const replaced = await admin.call('PUT', `${url}/API_KEY`, { value: SECRET }, { 'idempotency-key': 'env-1' })
  assert.equal(replaced.statusCode, 200)
  assert.deepEqual([created.json().version, replaced.json().version], [1, 2])
  const list = await admin.call('GET', url)
  assert.deepEqual(list.json(), { items: [replaced.json()], nextCursor: null })
  for (const response of [created, replaced, list]) assert.ok(!response.body.includes(SECRET))
})

test('the value is stored only encrypted, bound to its app and key', async () => {
  const { db } = server.app
  await admin.call('PUT', `${url}/API_KEY`, { value: SECRET }, { 'idempotency-key': 'env-2' })
  const [row] = await db.select().from(envVars).where(eq(envVars.key, 'API_KEY'))
  const sealed = { keyId: row!.keyId, nonce: row!.nonce, ciphertext: row!.valueEncrypted }
  const box = new SecretBox(server.config.keys.encryption!)
  assert.equal(box.open(sealed, { appId: app.id, key: 'API_KEY' }), SECRET)

  const traces = [
    await db.select().from(envVars),
    await db.select().from(auditLogs),
    await db.select().from(idempotencyKeys)
  ]
  for (const rows of traces) {
    assert.ok(rows.length > 0)
    assert.ok(!JSON.stringify(rows).includes(SECRET))
  }
})

test('the list comes in pages, by name', async () => {
  const other = (await owner.call('POST', '/api/v1/apps', { name: 'many secrets' })).json()
  const names = ['A', 'B', 'B_2', 'C', 'Z9']
  for (const name of names.toReversed())
    await admin.call('PUT', `/api/v1/apps/${other.slug}/env/${name}`, { value: 'x' })
  const read = async (query: string) => (await admin.call('GET', `/api/v1/apps/${other.slug}/env?${query}`)).json()
  const keysOf = (page: { items: { key: string }[] }) => page.items.map(({ key }) => key)

  const first = await read('limit=3')
  const second = await read(`limit=3&cursor=${first.nextCursor}`)
  assert.deepEqual([keysOf(first), keysOf(second), second.nextCursor], [names.slice(0, 3), names.slice(3), null])
  assert.equal((await read('limit=5')).nextCursor, null)
  for (const query of ['limit=0', 'limit=201', 'cursor=', 'cursor=AAAA', 'cursor=!'])
    assert.equal((await read(query)).error.code, 'VALIDATION_ERROR', query)
})

test('builds only see variables that are set for them', async () => {
  const seen = await admin.call('PUT', `${url}/NPM_TOKEN`, { value: SECRET, buildTime: true })
  assert.equal(seen.json().buildTime, true)
  assert.equal((await admin.call('PUT', `${url}/NPM_TOKEN`, { value: SECRET })).json().buildTime, false)
  for (const buildTime of ['yes', 1, null])
    assert.equal(errorOf(await admin.call('PUT', `${url}/NPM_TOKEN`, { value: 'x', buildTime })).status, 400)
})

test('DELETE removes a variable once', async () => {
  await admin.call('PUT', `${url}/GONE`, { value: '' })
  assert.equal((await admin.call('DELETE', `${url}/GONE`)).statusCode, 204)
  assert.deepEqual(errorOf(await admin.call('DELETE', `${url}/GONE`)), { status: 404, code: 'NOT_FOUND' })
})

test('only admins and owners can see and change variables, and other teams do not find the app', async () => {
  for (const [caller, status, code] of [
    [member, 403, 'FORBIDDEN'],
    [stranger, 404, 'NOT_FOUND']
  ] as const)
    for (const [method, target, body] of [
      ['GET', url],
      ['PUT', `${url}/A`, { value: 'x' }],
      ['DELETE', `${url}/A`]
    ] as const) {
      const { status: given, code: said } = errorOf(await caller.call(method, target, body))
      assert.deepEqual([given, said], [status, code])
    }
  for (const caller of [owner, admin]) assert.equal((await caller.call('GET', url)).statusCode, 200)
})

test('the audit log names the variable, even of a refused change', async () => {
  await admin.call('PUT', `${url}/AUDITED`, { value: 'x' })
  await member.call('DELETE', `${url}/AUDITED`)
  await admin.call('DELETE', `${url}/UNKNOWN`)
  await admin.call('DELETE', `${url}/AUDITED`)

  const query = server.app.db
    .select()
    .from(auditLogs)
    .where(and(eq(auditLogs.appId, app.id), eq(auditLogs.resource, 'env_var')))
  const rows = await eventually(
    async () => (await query.execute()).filter(({ resourceId }) => /AUDITED|UNKNOWN/.test(resourceId ?? '')),
    rows => rows.length >= 4
  )
  assert.deepEqual(
    new Set(rows.map(row => [row.action, row.resourceId, row.resourceName, row.outcome, row.teamId].join())),
    new Set(
      [
        ['set', 'AUDITED', 'AUDITED', 'success', team.id],
        ['delete', 'AUDITED', 'AUDITED', 'denied', team.id],
        ['delete', 'UNKNOWN', 'UNKNOWN', 'denied', team.id],
        ['delete', 'AUDITED', 'AUDITED', 'success', team.id]
      ].map(String)
    )
  )
})

test('refuses invalid or reserved names, and invalid values, with the reason', async () => {
  for (const key of ['lower', '1ST', 'A-B', 'A%20B', '%C3%84', 'A'.repeat(256)])
    assert.match(String(errorOf(await owner.call('PUT', `${url}/${key}`, { value: 'x' })).detail), /^key: /, key)
  for (const key of ['PORT', 'FLY_REGION'])
    assert.match(String(errorOf(await owner.call('PUT', `${url}/${key}`, { value: 'x' })).detail), /^key: .*reserved/)
  for (const body of [
    {},
    { value: 1 },
    { value: null },
    { value: 'a\0b' },
    { value: 'x'.repeat(65_537) },
    { value: 'x', more: 1 }
  ])
    assert.equal(errorOf(await owner.call('PUT', `${url}/A`, body)).code, 'VALIDATION_ERROR')
  const wide = errorOf(await owner.call('PUT', `${url}/A`, { value: 'é'.repeat(40_000) }))
  assert.deepEqual(wide, { status: 400, code: 'VALIDATION_ERROR', detail: 'value: must not exceed 65536 bytes' })
  assert.equal((await owner.call('PUT', `${url}/${'A'.repeat(255)}`, { value: 'é'.repeat(32_768) })).statusCode, 201)
})
