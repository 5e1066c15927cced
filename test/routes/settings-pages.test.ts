import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'
import { eq } from 'drizzle-orm'
import { users } from '../../drizzle/schema.ts'
import { createLocalAccount, setPassword } from '../../src/domain/accounts/local-accounts.ts'
import { createPasswords } from '../../src/domain/accounts/passwords.ts'
import { listTokens } from '../../src/domain/accounts/tokens.ts'
import { auditLog } from '../domain/support.ts'
import { testApp } from '../support/app.ts'
import { TestBrowser } from '../support/browser.ts'
import { freePort } from '../support/free-port.ts'

const GOOD = 'kuro mizu tabi 9 feldspar'
const BETTER = 'ember 44 lantern oxbow quill'

const port = await freePort()
const base = `http://127.0.0.1:${port}`
const { app, as } = await testApp({ after } as never, {
  LOCAL_ACCOUNTS: 'true',
  BASE_URL: base,
  RATE_LIMIT_AUTH: '10000/s:10000',
  RATE_LIMIT_STRICT: '10000/s:10000'
})
await app.listen({ host: '127.0.0.1', port })
const goodHash = await createPasswords().hash(GOOD, 'tests')

/** A signed-in user with a password. */
async function signedIn(login: string) {
  const user = await app.db.transaction(async tx => {
    const made = await createLocalAccount(tx, auditLog, login, 'test', 'pro')
    await setPassword(tx, made.user.id, goodHash)
    return made.user
  })
  return { user, browser: await signIn(login) }
}

async function signIn(login: string, password = GOOD): Promise<TestBrowser> {
  const browser = new TestBrowser()
  const page = await browser.open(`${base}/login`)
  const next = await browser.submit(page, '/auth/password', { login, password, next: '/settings' })
  assert.match(next.url, /\/settings$/, next.body.slice(0, 200))
  return browser
}

const settingsOf = (browser: TestBrowser, path = '') => browser.open(`${base}/settings${path}`)

describe('the settings of an account', () => {
  test('show the profile, the session, and an empty list of tokens', async () => {
    const { browser } = await signedIn('ada@example.com')
    const { status, body } = await settingsOf(browser)
    assert.equal(status, 200)
    for (const words of [
      'ada@example.com',
      'a password',
      'this one',
      'None yet. Programs such as the command line',
      'Export'
    ])
      assert.ok(body.includes(words), words)
  })

  test('a token is shown once, works, and is refused after its revocation', async () => {
    const { browser, user } = await signedIn('token-maker')
    const form = await settingsOf(browser, '/tokens/new')
    const key = 'a'.repeat(20)
    const fields = { name: 'ci <b>', scope: 'deploy', lifetime: '30', _key: key }
    const made = await browser.submit(form, '/settings/tokens/new', fields)
    assert.equal(made.status, 200)
    const [token] = /rhone_\w{20,}/.exec(made.body) ?? []
    assert.ok(token && made.body.includes('shown this once') && made.body.includes('ci &lt;b&gt;'))
    assert.equal((await as(token, 'GET', '/api/v1/me')).json().id, user.id)

    const again = await browser.submit(form, '/settings/tokens/new', fields)
    assert.match(again.url, /done=token-made/)
    assert.ok(!again.body.includes(token), 'sent twice, it is shown once')
    const { items } = await listTokens(app.db, user.id)
    assert.deepEqual(
      items.map(({ scopes }) => scopes),
      [['deploy']]
    )
    assert.equal(Math.round((items[0]!.expiresAt!.getTime() - Date.now()) / 86_400_000), 30)

    const page = await browser.submit(again, `/settings/tokens/${items[0]!.id}/revoke`, {})
    assert.match(page.body, /The token was revoked/)
    assert.equal((await as(token, 'GET', '/api/v1/me')).statusCode, 401)
  })

  test('an invalid token form is shown again with its input and the error', async () => {
    const { browser } = await signedIn('hasty')
    const form = await settingsOf(browser, '/tokens/new')
    const refused = await browser.submit(form, '/settings/tokens/new', { name: '', scope: 'read', lifetime: '7' })
    assert.equal(refused.status, 422)
    assert.match(refused.body, /One field needs a correction/)
    assert.match(refused.body, /value="read" checked/)
  })

  test('another session can be ended, and all others at once', async () => {
    const { browser } = await signedIn('traveller')
    const others = [await signIn('traveller'), await signIn('traveller')]
    const page = await settingsOf(browser)
    const [, id] = /action="\/settings\/sessions\/([\w-]{36})\/end"/.exec(page.body) ?? []
    const ended = await browser.submit(page, `/settings/sessions/${id}/end`, {})
    assert.match(ended.body, /The session was ended/)
    const stillIn = async () =>
      (await Promise.all(others.map(other => settingsOf(other)))).filter(({ url }) => url.endsWith('/settings'))
    assert.equal((await stillIn()).length, 1)

    assert.match((await browser.submit(page, '/settings/sessions/end', {})).body, /All other sessions were ended/)
    assert.equal((await stillIn()).length, 0)
    assert.equal((await settingsOf(browser)).url, `${base}/settings`, 'this one stays')
    await browser.submit(page, '/settings/sessions/end', { everywhere: 'on' })
    assert.match((await settingsOf(browser)).url, /\/login/)
  })

  test('a password change needs the current one, and never shows either', async () => {
    const { browser } = await signedIn('careful')
    const page = await settingsOf(browser)
    const wrong = await browser.submit(page, '/settings/password', { currentPassword: BETTER, newPassword: BETTER })
    assert.equal(wrong.status, 422)
    assert.match(wrong.body, /Is wrong/)
    assert.ok(!wrong.body.includes(BETTER))
    const done = await browser.submit(page, '/settings/password', { currentPassword: GOOD, newPassword: BETTER })
    assert.match(done.body, /The password was changed/)
    await signIn('careful', BETTER)
  })

  test('deleting an account requires typing its name, and returns a restore code', async () => {
    const { browser, user } = await signedIn('leaver')
    const page = await settingsOf(browser, '/delete')
    const refused = await browser.submit(page, '/settings/delete', { confirm: 'Leaver' })
    assert.equal(refused.status, 422)
    assert.match(refused.body, /This is not leaver, so nothing was deleted/)

    const gone = await browser.submit(page, '/settings/delete', { confirm: 'leaver' })
    assert.equal(gone.status, 200)
    const [, code] = /<code tabindex="0">([\w-]{43})<\/code>/.exec(gone.body) ?? []
    assert.match((await settingsOf(browser)).url, /\/login/)
    assert.equal((await as('', 'POST', '/api/v1/me/restore', { code })).statusCode, 200)
    const [row] = await app.db.select().from(users).where(eq(users.id, user.id))
    assert.equal(row!.eraseAfter, null)
  })
})

describe('billing', () => {
  test('shows the plan and its usage, and that nothing else is known or charged', async () => {
    const { browser } = await signedIn('payer')
    const { status, body } = await browser.open(`${base}/billing`)
    assert.equal(status, 200)
    for (const words of ['payer', 'pro', 'Payment is not set up here.', '1, without a limit'])
      assert.ok(body.includes(words), words)
    assert.match(body, /Machine hours<\/span><span class="value">unknown/)
  })
})

describe('the terms and the privacy notice', () => {
  test('are public, dated, and have the retention periods of the code', async () => {
    const visitor = new TestBrowser()
    for (const path of ['/terms', '/privacy']) {
      const { status, body } = await visitor.open(`${base}${path}`)
      assert.equal(status, 200)
      assert.match(body, /<time datetime="\d{4}-\d\d-\d\d">/)
    }
    const { body } = await visitor.open(`${base}/privacy`)
    assert.match(body, /400 days; without your name/)
    assert.match(body, /For 14 days a code brings/)
  })
})
