import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { eq, sql } from 'drizzle-orm'
import { apiTokens, deployments, sessions } from '../../drizzle/schema.ts'
import { revokeToken } from '../../src/domain/accounts/tokens.ts'
import { changeApp, createApp } from '../../src/domain/apps/apps.ts'
import { deleteEnvVar, setEnvVar } from '../../src/domain/apps/env-vars.ts'
import type { SecretBox } from '../../src/domain/base/secret-box.ts'
import { EventReader } from '../support/event-reader.ts'
import { eventually } from '../support/eventually.ts'
import { type Caller, platform } from './support.ts'

const server = await platform({ after })
const { app } = server
const { db } = app
const url = await app.listen({ host: '127.0.0.1', port: 0 })

const follow = ({ token }: Pick<Caller, 'token'>) =>
  EventReader.open(`${url}/api/v1/events`, { authorization: `Bearer ${token}` })

/** Announces a changed deployment of this app on the channel. */
async function deployed(appId: string): Promise<string> {
  const [row] = await db
    .insert(deployments)
    .values({ appId, status: 'live', commitMessage: 'secret plans' })
    .returning()
  await db.execute(
    sql`select pg_notify('rhone_deployments', ${JSON.stringify({ id: row!.id, appId, status: 'live' })})`
  )
  return row!.id
}

test('the stream contains only the ids of changes in the teams of its reader', async t => {
  const { team, member, stranger } = await server.addPeople()
  const [theirs, others] = await Promise.all([follow(member), follow(stranger)])
  t.after(() => [theirs, others].forEach(reader => void reader.close()))
  await Promise.all([theirs.named('connected'), others.named('connected')])

  // Created after the stream began, so the stream does not know it yet.
  const made = await createApp(db, team.id, { name: 'news' })
  await eventually(async () => {
    await db.delete(deployments).where(eq(deployments.appId, made.id))
    await deployed(made.id)
    return theirs.events.some(({ event }) => event === 'app')
  }, Boolean)
  const told = theirs.events.filter(({ event }) => event !== 'connected' && event !== 'gap')
  for (const { event, data } of told)
    assert.deepEqual(
      Object.keys(JSON.parse(data)),
      event === 'deployment' ? ['id', 'appId', 'status'] : ['id', 'teamId']
    )
  assert.doesNotMatch(theirs.text, /secret plans|news/)
  assert.deepEqual(
    others.events.filter(({ event }) => event === 'deployment' || event === 'app'),
    []
  )
})

test('a change of an app or of its variables is sent to its team', async t => {
  const { team, member } = await server.addPeople()
  const reader = await follow(member)
  t.after(() => reader.close())
  await reader.named('connected')
  const made = await createApp(db, team.id, { name: 'settings' })
  const sealed = { keyId: 'k', nonce: Buffer.alloc(12), ciphertext: Buffer.alloc(32) }
  const box = { seal: () => sealed } as unknown as SecretBox
  const change = (autoDeploy: boolean) => changeApp(db, made, { autoDeploy })
  const told = () => reader.events.filter(({ event }) => event === 'app').map(({ data }) => JSON.parse(data).id)
  // The stream is open before its server listens.
  await eventually(async () => {
    await change(false)
    return told().length > 0
  })

  const further = [
    () => change(true),
    () => setEnvVar(db, box, made.id, 'GREETING', 'hello'),
    () => deleteEnvVar(db, made.id, 'GREETING')
  ]
  for (const act of further) {
    const before = told().length
    await act()
    await eventually(() => told().length > before)
  }
  assert.deepEqual(new Set(told()), new Set([made.id]))
})

test('a reader whose token is revoked is told so, and then the stream ends', async t => {
  const { member } = await server.addPeople()
  const reader = await follow(member)
  t.after(() => reader.close())
  await reader.named('connected')
  const [token] = await db.select({ id: apiTokens.id }).from(apiTokens).where(eq(apiTokens.userId, member.id))
  await db.transaction(tx => revokeToken(tx, member.id, token!.id))
  await reader.named('signed-out')
  await reader.end()
  assert.ok(reader.isComplete)
})

test('the stream requires a credential, and is limited to ten per user', async t => {
  const anonymous = await EventReader.open(`${url}/api/v1/events`)
  assert.equal(anonymous.status, 401)
  anonymous.close()

  const { member } = await server.addPeople()
  const readers = await Promise.all(Array.from({ length: 10 }, () => follow(member)))
  t.after(() => readers.forEach(reader => void reader.close()))
  assert.ok(readers.every(({ status }) => status === 200))
  const more = await follow(member)
  assert.equal(more.status, 429)
  assert.match(String(more.headers['retry-after']), /^\d+$/)
  more.close()
  assert.equal(await db.$count(sessions), 0)
})
