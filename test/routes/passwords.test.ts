import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'
import { eq } from 'drizzle-orm'
import { auditLogs, localAccounts, signInFailures } from '../../drizzle/schema.ts'
import { main } from '../../src/cli/main.ts'
import { takeGuess } from '../../src/domain/accounts/guessing.ts'
import { createLocalAccount, setPassword } from '../../src/domain/accounts/local-accounts.ts'
import { createPasswords } from '../../src/domain/accounts/passwords.ts'
import { auditLog } from '../domain/support.ts'
import { testApp } from '../support/app.ts'
import { type Page, TestBrowser } from '../support/browser.ts'
import { freshDatabase } from '../support/database.ts'
import { eventually } from '../support/eventually.ts'
import { freePort } from '../support/free-port.ts'
import { thoroughly } from '../support/thorough.ts'

const GOOD = 'kuro mizu tabi 9 feldspar'
const BETTER = 'ember 44 lantern oxbow quill'

const port = await freePort()
const base = `http://127.0.0.1:${port}`
const variables = { DATABASE_URL: await freshDatabase({ after }), LOCAL_ACCOUNTS: 'true' }
const { app } = await testApp({ after } as never, {
  ...variables,
  BASE_URL: base,
  RATE_LIMIT_AUTH: '10000/s:10000',
  RATE_LIMIT_STRICT: '10000/s:10000'
})
await app.listen({ host: '127.0.0.1', port })

const passwords = createPasswords()
const goodHash = await passwords.hash(GOOD, 'tests')

/** An account with the good password. */
async function addAccount(login: string) {
  return app.db.transaction(async tx => {
    const { user } = await createLocalAccount(tx, auditLog, login, 'test', 'pro')
    await setPassword(tx, user.id, goodHash)
    return user
  })
}

async function signIn(login: string, password: string, browser = new TestBrowser()): Promise<Page> {
  const page = await browser.open(`${base}/login`)
  return browser.submit(page, '/auth/password', { login, password, next: '/api/v1/me' })
}

const forgetFailures = () => app.db.delete(signInFailures)

async function rhone(...args: string[]) {
  const written = { stdout: '', stderr: '' }
  const code = await main(args, {
    stdout(text) {
      written.stdout += text
    },
    stderr(text) {
      written.stderr += text
    },
    environment: () => variables
  })
  return { code, ...written }
}

describe('an account with a password', () => {
  test('is created on the command line, gets a password with a code, and can then sign in', async () => {
    const made = await rhone('user', 'create', 'Ada@Example.com', '--operator', '--json')
    assert.equal(made.code, 0, made.stderr)
    const { code, login } = JSON.parse(made.stdout)
    assert.equal(login, 'ada@example.com')
    assert.match(code, /^[0-9a-z]{5}(-[0-9a-z]{5}){3}$/)

    const browser = new TestBrowser()
    const page = await browser.open(`${base}/auth/reset`)
    const set = (fields: Record<string, string>) =>
      browser.submit(page, '/auth/reset', { login, code: code.toUpperCase(), password: GOOD, ...fields })
    assert.equal((await set({ code: code.replace(/./, (c: string) => (c === '0' ? '1' : '0')) })).status, 401)
    assert.equal((await set({ login: 'nobody' })).status, 401)
    assert.match((await set({ password: 'short' })).body, /at least 12 characters/)
    assert.match((await set({ password: 'qwertyuiop123' })).body, /too easy to guess/)
    const done = await set({})
    assert.deepEqual([done.status, done.url], [200, `${base}/dashboard`])
    assert.match(done.body, /Account of <\/span><span class="truncate">ada@example.com</)
    assert.equal((await browser.open(`${base}/admin/stats`)).status, 200)
    assert.equal((await set({ password: BETTER })).status, 403, 'the form was for a signed-out user')

    const again = new TestBrowser()
    const fresh = await again.open(`${base}/auth/reset`)
    const reused = await again.submit(fresh, '/auth/reset', { login, code, password: BETTER })
    assert.equal(reused.status, 401, 'a code works once')
    assert.equal((await signIn(' ADA@example.com ', GOOD)).status, 200)
  })

  test('stores only a hash of the strength recommended by OWASP', async () => {
    const { id } = await addAccount('hashed')
    const [row] = await app.db.select().from(localAccounts).where(eq(localAccounts.userId, id))
    assert.match(row!.passwordHash!, /^\$argon2id\$v=19\$m=19456,t=2,p=1\$[\w+/]{22}\$[\w+/]{43}$/)
    assert.notEqual(await passwords.hash(GOOD, 'tests'), goodHash)
    assert.equal(await passwords.verify(GOOD.normalize('NFD'), goodHash, 'tests'), true)
    assert.equal(await passwords.verify(`${GOOD} `, goodHash, 'tests'), false)
  })

  test('without a password cannot sign in', async () => {
    await app.db.transaction(tx => createLocalAccount(tx, auditLog, 'unborn', 'test', 'pro'))
    for (const password of ['', ' ', GOOD]) assert.notEqual((await signIn('unborn', password)).status, 200)
  })

  test('changes its password in a session, which signs it out everywhere else', async () => {
    await addAccount('changer')
    const [here, there] = [new TestBrowser(), new TestBrowser()]
    await signIn('changer', GOOD, here)
    await signIn('changer', GOOD, there)
    const before = here.cookie(base, 'rhone_session')
    const change = (currentPassword: string, newPassword: string) =>
      here.open(`${base}/api/v1/me/password`, {
        method: 'POST',
        body: JSON.stringify({ currentPassword, newPassword }),
        headers: { 'content-type': 'application/json', origin: base, accept: 'application/json' }
      })
    assert.match((await change(BETTER, BETTER)).body, /currentPassword: is wrong/)
    assert.match((await change(GOOD, 'changer changer')).body, /newPassword: is too easy to guess/)
    const changed = await change(GOOD, BETTER)
    assert.equal(changed.status, 204, changed.body)
    assert.notEqual(here.cookie(base, 'rhone_session'), before)
    assert.equal((await here.open(`${base}/api/v1/me`)).status, 200)
    assert.equal((await there.open(`${base}/api/v1/me`)).status, 401)
    assert.equal((await signIn('changer', GOOD)).status, 401)
    assert.equal((await signIn('changer', BETTER)).status, 200)
  })

  test('with a forgotten password gets a code from an operator, and keeps the old one until it is used', async () => {
    await addAccount('forgetful')
    const { code: exit, stdout } = await rhone('user', 'reset', 'forgetful')
    assert.equal(exit, 0)
    assert.equal((await signIn('forgetful', GOOD)).status, 200)
    const browser = new TestBrowser()
    const page = await browser.open(`${base}/auth/reset`)
    const fields = { login: 'forgetful', code: stdout.trim(), password: BETTER }
    assert.equal((await browser.submit(page, '/auth/reset', fields)).status, 200)
    assert.equal((await signIn('forgetful', GOOD)).status, 401)
    const unknown = await rhone('user', 'reset', 'nobody')
    assert.deepEqual([unknown.code, /local account not found/.test(unknown.stderr)], [1, true])
  })

  test('cannot be created twice, or with an invalid name', async () => {
    await addAccount('once')
    assert.match((await rhone('user', 'create', 'ONCE')).stderr, /The account "once" already exists/)
    for (const name of ['a b', '-x', '<script>', 'x'.repeat(256)])
      assert.equal((await rhone('user', 'create', '--', name)).code, 1, name)
  })
})

describe('guessing', () => {
  test('is audited under the target account', async () => {
    await forgetFailures()
    await addAccount('watched')
    await signIn('watched', 'wrong')
    const rows = await eventually(
      () => app.db.select().from(auditLogs).where(eq(auditLogs.resourceName, 'watched')),
      found => found.some(row => row.outcome === 'denied')
    )
    assert.ok(rows.some(row => row.action === 'login' && row.ip === '127.0.0.1'))
  })

  test('tells a wrong name from a wrong password neither by its reply nor by its time', async () => {
    await addAccount('timed')
    const browser = new TestBrowser()
    const page = await browser.open(`${base}/login`)
    const times: Record<string, number[]> = { timed: [], nobody: [] }
    const bodies = new Set<string>()
    for (let round = 0; round < thoroughly(8, 12); round++)
      for (const login of ['timed', 'nobody']) {
        await forgetFailures()
        const start = performance.now()
        const reply = await browser.submit(page, '/auth/password', { login, password: 'wrong password here' })
        times[login]!.push(performance.now() - start)
        assert.equal(reply.status, 401)
        bodies.add(reply.body.replaceAll(login, '').replaceAll(/nonce="[^"]*"/g, ''))
      }
    assert.equal(bodies.size, 1)
    // The fastest of each: other load only adds time.
    const ratio = Math.min(...times.timed!) / Math.min(...times.nobody!)
    assert.ok(ratio > 0.5 && ratio < 2, `${ratio}`)
  })

  test('delays only the guesser, even with the right password', async () => {
    await forgetFailures()
    await addAccount('victim')
    const browser = new TestBrowser()
    const page = await browser.open(`${base}/login`)
    const guess = (password: string) => browser.submit(page, '/auth/password', { login: 'victim', password })
    const guesses = await Promise.all(Array.from({ length: 9 }, (_, i) => guess(`wrong ${i}`)))
    const statuses = guesses.map(({ status }) => status).sort()
    assert.deepEqual(statuses, [401, 401, 401, 401, 401, 429, 429, 429, 429], 'at once is no way round')
    const waiting = await guess(GOOD)
    assert.equal(waiting.status, 429)
    assert.ok(Number(waiting.headers.get('retry-after')) > 0)

    const elsewhere = await signInFrom('203.0.113.9', 'victim', GOOD)
    assert.equal(elsewhere, 303, 'the owner comes from another address')
    assert.equal((await signIn('timed', GOOD)).status, 200, 'another account is not concerned')
  })

  test('from many addresses leaves each one guess, so that the owner can sign in', async () => {
    await forgetFailures()
    await addAccount('besieged')
    // All but the last that makes it an attack, without the time that each password takes to be verified.
    for (let host = 1; host <= 49; host++) await takeGuess(app.db, 'besieged', `198.51.100.${host}`)
    assert.equal(await signInFrom('198.51.100.50', 'besieged', 'wrong'), 401)
    assert.equal(await signInFrom('192.0.2.1', 'besieged', 'wrong'), 401)
    assert.equal(await signInFrom('192.0.2.1', 'besieged', GOOD), 429, 'one guess of an address, and no more')
    assert.equal(await signInFrom('192.0.2.2', 'besieged', GOOD), 303)
  })
})

/** @returns the status */
async function signInFrom(remoteAddress: string, login: string, password: string): Promise<number> {
  const page = await app.inject({ url: '/login', remoteAddress })
  const [, token = ''] = /name="_csrf" value="([^"]*)"/.exec(page.body) ?? []
  const cookie = String(page.headers['set-cookie']).split(';')[0]!
  const reply = await app.inject({
    method: 'POST',
    url: '/auth/password',
    remoteAddress,
    headers: {
      cookie,
      host: 'rhone',
      origin: 'http://rhone',
      'content-type': 'application/x-www-form-urlencoded'
    },
    payload: new URLSearchParams({ _csrf: token, login, password }).toString()
  })
  return reply.statusCode
}

test('a server without passwords reports that', async t => {
  const { app } = await testApp(t, {})
  const page = await app.inject('/login')
  assert.match(page.body, /No way to sign in is set up/)
  assert.equal((await app.inject('/auth/reset')).statusCode, 501)
})
