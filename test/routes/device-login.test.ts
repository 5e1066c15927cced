import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { after, describe, test } from 'node:test'
import { eq, sql } from 'drizzle-orm'
import { apiTokens, auditLogs, deviceLogins, sessions, users } from '../../drizzle/schema.ts'
import { hashToken } from '../../plugins/lib/token.ts'
import { buildApp } from '../../src/app.ts'
import { askDeviceLogin, readUserCode } from '../../src/domain/accounts/device-logins.ts'
import { createToken } from '../../src/domain/accounts/tokens.ts'
import { sweep } from '../../src/domain/privacy/retention.ts'
import { addTeam, addUser } from '../domain/support.ts'
import { testApp, testConfig } from '../support/app.ts'
import { TestBrowser } from '../support/browser.ts'
import { freshDatabase } from '../support/database.ts'
import { eventually } from '../support/eventually.ts'
import { freePort } from '../support/free-port.ts'

const scope = { after } as never
const settings = {
  DATABASE_URL: await freshDatabase(scope),
  RATE_LIMIT_AUTH: '10000/s:10000',
  RATE_LIMIT_GENERAL: '10000/s:10000'
}
const port = await freePort()
const base = `http://127.0.0.1:${port}`
const { app, as } = await testApp(scope, { ...settings, BASE_URL: base })
await app.listen({ host: '127.0.0.1', port })
const { db } = app

interface Begun {
  deviceCode: string
  userCode: string
  verificationUri: string
  verificationUriComplete: string
  interval: number
  expiresIn: number
}

async function begin(body: object = { name: 'rhone on laptop' }): Promise<Begun> {
  const reply = await as(null, 'POST', '/api/v1/auth/device', body)
  assert.equal(reply.statusCode, 201, reply.body)
  return reply.json()
}

const ask = async ({ deviceCode }: Begun) =>
  (await as(null, 'POST', '/api/v1/auth/device/token', { deviceCode })).json()

/** Skips the polling interval of the program. */
const rest = () => db.update(deviceLogins).set({ polledAt: null })
const expire = () => db.update(deviceLogins).set({ expiresAt: sql`now() - interval '1 second'` })

/** A user who is signed in in a browser. */
async function person(signedInAgo = 0) {
  const id = await addUser(db)
  const secret = randomBytes(32).toString('base64url')
  const soon = new Date(Date.now() + 3_600_000)
  await db.insert(sessions).values({
    userId: id,
    secretHash: hashToken(secret),
    method: 'github',
    asOperator: false,
    idleUntil: soon,
    expiresAt: soon,
    createdAt: new Date(Date.now() - signedInAgo)
  })
  const browser = new TestBrowser()
  browser.set(base, 'rhone_session', secret)
  return { id, browser, open: (code: string) => browser.open(`${base}/login/device?code=${code}`) }
}
type Person = Awaited<ReturnType<typeof person>>

async function decide({ browser, open }: Person, { userCode }: Begun, decision: 'approve' | 'deny') {
  const page = await open(userCode)
  assert.equal(page.status, 200, page.body)
  return browser.submit(page, '/login/device', { code: userCode, decision })
}

const tokensOf = (userId: string) => db.select().from(apiTokens).where(eq(apiTokens.userId, userId))
const auditOf = async (userId: string) =>
  (await db.select().from(auditLogs).where(eq(auditLogs.userId, userId)))
    .map(({ resource, action, outcome }) => `${resource}.${action} ${outcome}`)
    .toSorted()

describe('a program logs in', () => {
  test('with a code that a person compares and approves, seeing its rights and its origin', async () => {
    const ada = await person()
    const begun = await begin({ name: 'rhone on <b>laptop</b>' })
    assert.match(begun.userCode, /^[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}$/)
    assert.deepEqual([begun.interval, begun.expiresIn, begun.verificationUri], [5, 600, `${base}/login/device`])
    assert.deepEqual(await ask(begun), { status: 'authorization_pending', interval: 5 })

    const page = await ada.browser.open(begun.verificationUriComplete)
    for (const words of [
      begun.userCode,
      'rhone on &lt;b&gt;laptop',
      '127.0.0.1',
      'do everything that you can do',
      '90 days'
    ])
      assert.ok(page.body.includes(words), words)
    assert.ok(!page.body.includes(begun.deviceCode))
    assert.equal((await tokensOf(ada.id)).length, 0, 'looking makes no token')

    const done = await ada.browser.submit(page, '/login/device', { code: begun.userCode, decision: 'approve' })
    assert.match(done.body, /The program is in/)
    await rest()
    const { token, tokenId, status, scopes, expiresAt } = await ask(begun)
    assert.deepEqual([status, scopes], ['approved', ['admin']])
    assert.equal(Math.round((Date.parse(expiresAt) - Date.now()) / 86_400_000), 90)
    assert.equal((await as(token, 'GET', '/api/v1/me')).json().id, ada.id)
    const [held] = await tokensOf(ada.id)
    assert.deepEqual([held!.id, held!.name], [tokenId, 'rhone on <b>laptop</b>'])
    assert.deepEqual(await auditOf(ada.id), ['device_login.approve success', 'token.create success'])
  })

  test('with only the requested scopes, and can revoke its own token only', async () => {
    const ada = await person()
    const begun = await begin({ scopes: ['read'] })
    assert.match((await ada.open(begun.userCode)).body, /read what you can see/)
    await decide(ada, begun, 'approve')
    const { token, tokenId } = await ask(begun)
    assert.equal((await as(token, 'POST', '/api/v1/teams', { name: 'x' })).statusCode, 403)
    const other = await createToken(db, { userId: ada.id, name: 'other', scopes: ['admin'] })
    assert.equal((await as(token, 'DELETE', `/api/v1/me/tokens/${other.id}`)).statusCode, 403)
    assert.equal((await as(token, 'DELETE', `/api/v1/me/tokens/${tokenId}`)).statusCode, 204)
    assert.equal((await as(token, 'GET', '/api/v1/me')).statusCode, 401)
  })

  test('with a code typed in lower case, with spaces or without a dash', async () => {
    const ada = await person()
    const { userCode } = await begin()
    const sloppy = encodeURIComponent(` ${userCode.toLowerCase().replace('-', ' ')} `)
    assert.ok((await ada.open(sloppy)).body.includes(userCode))
    assert.deepEqual(['bcdfghjk', 'BCDF-GHJA', 'BCDF', '', 'BCDFGHJKL'].map(readUserCode), [
      'BCDF-GHJK',
      null,
      null,
      null,
      null
    ])
  })

  test('not if the person denies it, and the program is told', async () => {
    const ada = await person()
    const begun = await begin()
    assert.match((await decide(ada, begun, 'deny')).body, /The program stays out/)
    assert.equal((await ask(begun)).status, 'access_denied')
    assert.equal((await tokensOf(ada.id)).length, 0)
    assert.deepEqual(await auditOf(ada.id), ['device_login.deny success'])
  })

  test('through several instances as through one', async () => {
    const config = await testConfig(scope, { ...settings, BASE_URL: base })
    const other = await buildApp({ ...config, swaps: { pressure: false } })
    after(() => other.close())
    await other.ready()
    await other.startup.completed
    const askOther = async ({ deviceCode }: Begun) =>
      (await other.inject({ method: 'POST', url: '/api/v1/auth/device/token', payload: { deviceCode } })).json()
    const ada = await person()
    const begun = await begin()
    assert.equal((await askOther(begun)).status, 'authorization_pending')
    assert.equal((await ask(begun)).status, 'slow_down', 'the pace is that of all instances together')
    await decide(ada, begun, 'approve')
    await rest()
    const { token } = await askOther(begun)
    assert.equal((await as(token, 'GET', '/api/v1/me')).json().id, ada.id)
  })
})

describe('time', () => {
  test('a program that polls too often is told to slow down, by five more seconds each time', async () => {
    const begun = await begin()
    const asked = []
    for (let i = 0; i < 3; i++) asked.push(await ask(begun))
    assert.deepEqual(asked, [
      { status: 'authorization_pending', interval: 5 },
      { status: 'slow_down', interval: 10 },
      { status: 'slow_down', interval: 15 }
    ])
    await db.update(deviceLogins).set({ polledAt: sql`now() - interval '14.5 seconds'` })
    assert.deepEqual(await ask(begun), { status: 'authorization_pending', interval: 15 })
  })

  test('after ten minutes both codes expire, and the next sweep removes them', async () => {
    const ada = await person()
    const begun = await begin()
    const page = await ada.open(begun.userCode)
    await expire()
    assert.equal((await ask(begun)).status, 'expired_token')
    assert.match((await ada.open(begun.userCode)).body, /No login has this code/)
    const late = await ada.browser.submit(page, '/login/device', { code: begun.userCode, decision: 'approve' })
    assert.equal(late.status, 422)
    await sweep(db, new AbortController().signal)
    assert.equal(await db.$count(deviceLogins), 0)
    assert.equal((await ask(begun)).status, 'expired_token')
  })

  test('an approval in the last second leaves a minute to fetch the token', async () => {
    const ada = await person()
    const begun = await begin()
    const page = await ada.open(begun.userCode)
    await db.update(deviceLogins).set({ expiresAt: sql`now() + interval '5 seconds'` })
    await ada.browser.submit(page, '/login/device', { code: begun.userCode, decision: 'approve' })
    const [{ left } = { left: 0 }] = await db
      .select({ left: sql<number>`extract(epoch from ${deviceLogins.expiresAt} - now())::float` })
      .from(deviceLogins)
      .where(eq(deviceLogins.userId, ada.id))
    assert.ok(left > 50 && left <= 60, String(left))
  })

  test('a program that ends between the approval and its poll leaves no token', async () => {
    const ada = await person()
    const begun = await begin()
    await decide(ada, begun, 'approve')
    assert.equal((await tokensOf(ada.id)).length, 0)
    await expire()
    assert.equal((await ask(begun)).status, 'expired_token')
    await sweep(db, new AbortController().signal)
    assert.equal((await tokensOf(ada.id)).length, 0)
  })
})

describe('hostile callers', () => {
  test('the token is returned once: polling again revokes it', async () => {
    const ada = await person()
    const begun = await begin()
    await decide(ada, begun, 'approve')
    const { token } = await ask(begun)
    assert.equal((await as(token, 'GET', '/api/v1/me')).statusCode, 200)
    assert.deepEqual(await ask(begun), { status: 'expired_token', interval: 5 })
    assert.equal((await as(token, 'GET', '/api/v1/me')).statusCode, 401)
    assert.equal((await ask(begun)).status, 'expired_token')
    assert.deepEqual((await auditOf(ada.id)).slice(0, 3), [
      'device_login.approve success',
      'token.create success',
      'token.revoke success'
    ])
  })

  test('of two programs that poll at the same moment, one gets a token, which is revoked', async () => {
    const ada = await person()
    const begun = await begin()
    await decide(ada, begun, 'approve')
    const asked = await Promise.all(
      Array.from({ length: 4 }, () => db.transaction(tx => askDeviceLogin(tx, begun.deviceCode)))
    )
    const granted = asked.filter(({ granted }) => granted !== undefined)
    assert.equal(granted.length, 1)
    assert.equal((await tokensOf(ada.id)).length, 1)
    assert.equal((await as(granted[0]!.granted!.token.token, 'GET', '/api/v1/me')).statusCode, 401)
  })

  test('guessing codes leads to a wait, without affecting others', async () => {
    const [mallory, ada] = [await person(), await person()]
    const begun = await begin()
    const statuses: number[] = []
    for (let i = 0; i < 7; i++) statuses.push((await mallory.open('BBBB-BBBB')).status)
    assert.deepEqual(statuses, [422, 422, 422, 422, 422, 429, 429])
    const refused = await mallory.open(begun.userCode)
    assert.equal(refused.status, 429, 'a right guess is not even looked at')
    assert.ok(Number(refused.headers.get('retry-after')) > 0)
    assert.equal((await ada.open(begun.userCode)).status, 200)
    // Attempts are written in the background.
    await eventually(async () => (await auditOf(mallory.id)).includes('device_login.enter failure'))
  })

  test('a code is decided once', async () => {
    const [ada, ben] = [await person(), await person()]
    const begun = await begin()
    const pages = [await ada.open(begun.userCode), await ben.open(begun.userCode)]
    const answers = await Promise.all([
      ada.browser.submit(pages[0]!, '/login/device', { code: begun.userCode, decision: 'approve' }),
      ben.browser.submit(pages[1]!, '/login/device', { code: begun.userCode, decision: 'approve' })
    ])
    assert.deepEqual(answers.map(({ status }) => status).toSorted(), [200, 422])
  })

  test('neither code can be read in the database', async () => {
    const begun = await begin()
    const stored = JSON.stringify(await db.select().from(deviceLogins))
    for (const code of [begun.deviceCode, begun.userCode, begun.userCode.replace('-', '')])
      assert.ok(!stored.includes(code))
  })

  test('an approval requires our form, a browser session and a recent sign-in', async () => {
    const ada = await person()
    const begun = await begin()
    const page = await ada.open(begun.userCode)
    const fields = { code: begun.userCode, decision: 'approve' }
    const forged = await ada.browser.submit(page, '/login/device', fields, {
      headers: { origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' }
    })
    assert.equal(forged.status, 403)
    assert.equal((await ada.browser.submit(page, '/login/device', { ...fields, _csrf: 'x' })).status, 403)
    const { token } = await createToken(db, { userId: ada.id, name: 'ci', scopes: ['admin'] })
    const seen = await as(token, 'GET', '/login/device')
    const headers = { 'sec-fetch-site': 'same-origin', cookie: String(seen.headers['set-cookie']).split(';')[0]! }
    const [, _csrf] =
      /name="_csrf" value="([^"]*)"/.exec(
        (await as(token, 'GET', `/login/device?code=${begun.userCode}`, undefined, headers)).body
      ) ?? []
    const byToken = await as(token, 'POST', '/login/device', { ...fields, _csrf }, headers)
    assert.deepEqual([byToken.statusCode, /only be approved in a browser session/.test(byToken.body)], [403, true])
    assert.equal((await ask(begun)).status, 'authorization_pending')

    const stale = await person(16 * 60_000)
    const led = await stale.open(begun.userCode)
    assert.match(led.url, /\/login\?next=%2Flogin%2Fdevice%3Fcode%3D[\w-]+&again=yes$/)
    assert.match(led.body, /Sign in again/)
  })

  test('a token for one team does not see the page', async () => {
    const id = await addUser(db)
    const team = await addTeam(db, { [id]: 'owner' })
    const { token } = await createToken(db, { userId: id, name: 'ci', scopes: ['admin'], teamId: team.id })
    assert.equal((await as(token, 'GET', '/login/device')).statusCode, 403)
  })

  test('an account that is being deleted cannot approve logins', async () => {
    const ada = await person()
    const begun = await begin()
    await decide(ada, begun, 'approve')
    await db
      .update(users)
      .set({ eraseAfter: new Date(Date.now() + 60_000) })
      .where(eq(users.id, ada.id))
    assert.equal((await ask(begun)).status, 'access_denied')
  })

  test('the name of a program is one line of text', async () => {
    for (const name of ['', ' ', 'a\nb', 'x'.repeat(101), 'a\u202Eb'])
      assert.equal((await as(null, 'POST', '/api/v1/auth/device', { name })).statusCode, 400, JSON.stringify(name))
    assert.equal((await as(null, 'POST', '/api/v1/auth/device', { scopes: ['root'] })).statusCode, 400)
    assert.equal((await as(null, 'POST', '/api/v1/auth/device')).statusCode, 201, 'a name is not needed')
  })

  test('starting is limited by address', async () => {
    const limited = await testApp(scope, { RATE_LIMIT_AUTH: '1/s:3' })
    const statuses = await Promise.all(
      Array.from({ length: 6 }, async () => (await limited.as(null, 'POST', '/api/v1/auth/device', {})).statusCode)
    )
    assert.deepEqual(statuses.toSorted(), [201, 201, 201, 429, 429, 429])
  })
})
