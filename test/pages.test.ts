import assert from 'node:assert/strict'
import { access } from 'node:fs/promises'
import { after, before, describe, it, type TestContext } from 'node:test'
import { type Browser, chromium, type Page } from 'playwright-core'
import { createLocalAccount } from '../src/domain/accounts/local-accounts.ts'
import { auditLog } from './domain/support.ts'
import { testApp } from './support/app.ts'

const CHROMIUM = '/usr/bin/chromium'

const isInstalled = await access(CHROMIUM).then(
  () => true,
  () => false
)
const options = { skip: !isInstalled && `there is no browser at ${CHROMIUM}` }

// Shedding is off: how busy the machine of the tests is has nothing to do with its pages.
const variables = { LOCAL_ACCOUNTS: 'true' }
const { app, as, token } = await testApp({ after } as unknown as TestContext, variables)
const url = await app.listen({ host: '127.0.0.1', port: 0 })

describe('in a real browser', options, () => {
  let browser: Browser

  before(async () => {
    browser = await chromium.launch({
      executablePath: CHROMIUM,
      args: ['--no-sandbox', '--disable-quic', '--disable-background-networking']
    })
  })
  after(() => browser?.close())

  /** A page in a new browser profile, and its errors. */
  async function openPage(t: TestContext): Promise<{ page: Page; complaints: string[] }> {
    const context = await browser.newContext()
    t.after(() => context.close())
    const page = await context.newPage()
    const complaints: string[] = []
    page.on('console', message => {
      const isAboutThePage = /status of (404|503)/.test(message.text()) && message.location().url === page.url()
      if (message.type() === 'error' && !isAboutThePage) complaints.push(`${message.text()} ${message.location().url}`)
    })
    page.on('pageerror', error => complaints.push(error.message))
    page.on('request', request => {
      if (!request.url().startsWith('http://127.0.0.1:')) complaints.push(`asks ${request.url()}`)
    })
    return { page, complaints }
  }

  const setMaintenance = (state: object) => as(token, 'POST', '/admin/maintenance', state)

  it('the API description is readable in a browser under its own strict policy', async t => {
    const { page, complaints } = await openPage(t)

    const reply = await page.goto(`${url}/docs`)
    assert.equal(reply?.status(), 200)
    assert.match(await page.title(), /Rhone/)
    assert.ok(await page.getByText('/api/v1/apps', { exact: false }).first().isVisible())
    const family = await page.evaluate('getComputedStyle(document.body).fontFamily')
    assert.notEqual(family, '"Times New Roman"', 'the style sheet was applied')
    assert.deepEqual(complaints, [])
  })

  it('a browser sees the styled maintenance page while the platform is closed', async t => {
    const { page, complaints } = await openPage(t)
    await setMaintenance({ enabled: true, message: 'Back at noon <script>alert(1)</script>' })
    t.after(() => setMaintenance({ enabled: false }))

    const reply = await page.goto(`${url}/dashboard`)
    assert.equal(reply?.status(), 503)
    assert.equal(await page.title(), 'Rhone - Maintenance')
    assert.match(await page.getByRole('heading').innerText(), /Under Maintenance/)
    assert.ok(await page.getByText('Your apps are still running and serving traffic.').isVisible())
    assert.ok(await page.getByText('Back at noon <script>alert(1)</script>').isVisible(), 'the message is text')
    assert.equal(await page.evaluate("getComputedStyle(document.querySelector('main')).display"), 'grid')
    assert.deepEqual(complaints, [])
  })

  it('a browser gets an error page, not JSON, for an unknown URL', async t => {
    const { page, complaints } = await openPage(t)
    const reply = await page.goto(`${url}/nowhere/<b>`)
    assert.equal(reply?.status(), 404)
    assert.match(reply?.headers()['content-type'] ?? '', /^text\/html/)
    assert.match(await page.locator('body').innerText(), /not found/i)
    assert.deepEqual(complaints, [])
  })

  it('a user sets a password, signs out and in again, in a real browser', async t => {
    const { page, complaints } = await openPage(t)
    const { code } = await app.db.transaction(tx => createLocalAccount(tx, auditLog, 'ada', 'test', 'pro'))

    await page.goto(`${url}/login`)
    await page.getByRole('link', { name: 'Set your password' }).click()
    await page.getByLabel('Name').fill('ada')
    await page.getByLabel('Code').fill(code)
    await page.getByLabel('New password').fill('kuro mizu tabi 9 feldspar')
    await page.getByRole('button', { name: 'Set password' }).click()
    await page.waitForURL('**/dashboard')
    assert.equal(await page.getByRole('heading', { level: 1 }).innerText(), "ada's Team")

    const cookie = (await page.context().cookies()).find(({ name }) => name === 'rhone_session')
    assert.deepEqual([cookie?.httpOnly, cookie?.sameSite], [true, 'Lax'])
    await page.getByText('ada', { exact: true }).click()
    await page.getByRole('button', { name: 'Sign out' }).click()
    await page.getByLabel('Name').fill('ada')
    await page.getByLabel('Password', { exact: true }).fill('kuro mizu tabi 9 feldspar')
    await page.getByRole('button', { name: 'Sign in' }).click()
    await page.waitForURL('**/dashboard')
    assert.deepEqual(complaints, [])
  })
})
