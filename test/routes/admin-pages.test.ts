import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { and, eq, sql } from 'drizzle-orm'
import { auditLogs } from '../../drizzle/schema.ts'
import { createLocalAccount } from '../../src/domain/accounts/local-accounts.ts'
import { setOperator } from '../../src/domain/accounts/operators.ts'
import { auditLog } from '../domain/support.ts'
import { testApp } from '../support/app.ts'
import { type Page, TestBrowser } from '../support/browser.ts'

const { app, as, token } = await testApp(
  { after } as never,
  {
    LOCAL_ACCOUNTS: 'true',
    RATE_LIMIT_AUTH: '10000/s:10000',
    RATE_LIMIT_STRICT: '10000/s:10000',
    RATE_LIMIT_GENERAL: '10000/s:10000'
  },
  { pressure: false }
)
const base = await app.listen({ host: '127.0.0.1', port: 0 })
const PASSWORD = 'quite a long sentence about rivers'
const { browser, name } = await signedIn('grace', true)

/** A user with a browser. */
async function signedIn(username: string, isOperator = false) {
  const code = await app.db.transaction(async tx => {
    const { user, code } = await createLocalAccount(tx, auditLog, username, 'test', 'pro')
    if (isOperator) await setOperator(tx, user.id, true)
    return code
  })
  const browser = new TestBrowser()
  const reset = await browser.open(`${base}/auth/reset`)
  const page = await browser.submit(reset, '/auth/reset', { login: username, code, password: PASSWORD })
  assert.equal(page.status, 200, page.body)
  return { browser, name: username }
}

const open = (path: string) => browser.open(base + path, { headers: { accept: 'text/html' } })

test('each page for operators has one heading, its own title and tabs to the others', async () => {
  const titles = new Set<string>()
  for (const path of ['/admin', '/admin/errors', '/admin/jobs', '/admin/users', '/admin/audit']) {
    const page = await open(path)
    assert.equal(page.status, 200, path)
    assert.match(String(page.headers.get('content-type')), /^text\/html/)
    assert.equal(page.body.match(/<h1>/g)?.length, 1)
    assert.match(page.body, new RegExp(`<a href="${path}" aria-current="page">`))
    titles.add(/<title>([^<]+)/.exec(page.body)![1]!)
  }
  assert.equal(titles.size, 5)
})

test('programs get JSON from the same URLs, with Vary: Accept', async () => {
  for (const path of ['/admin/errors', '/admin/jobs', '/admin/users', '/admin/audit']) {
    const reply = await as(token, 'GET', path)
    assert.deepEqual(Object.keys(reply.json()), ['items', 'nextCursor'])
    assert.match(String(reply.headers.vary), /Accept/i)
    assert.match(String((await open(path)).headers.get('vary')), /Accept/i)
  }
})

test('other users cannot see these pages', async () => {
  const { browser: other } = await signedIn('nobody-special')
  for (const path of ['/admin', '/admin/users', '/admin/audit'])
    assert.equal((await other.open(base + path, { headers: { accept: 'text/html' } })).status, 403)
  const page = await other.open(`${base}/dashboard`)
  assert.doesNotMatch(page.body, /href="\/admin"/)
  const refused = await other.submit(page, '/admin/closing', { enabled: 'yes', confirm: 'on' })
  assert.equal(refused.status, 403)
  assert.equal(app.maintenance.state.enabled, false)
})

test('empty filters are ignored, and invalid ones are refused with an explanation', async () => {
  const page = await open('/admin/audit?text=&actor=&type=&outcome=')
  assert.equal(page.status, 200)
  assert.match(page.body, /<b>operator\.create<\/b>/)
  assert.doesNotMatch((await open('/admin/audit?type=billing')).body, /<b>operator\.create<\/b>/)
  assert.match((await open('/admin/audit?type=billing')).body, /No event matches/)
  const wrong = await open('/admin/audit?type=everything')
  assert.equal(wrong.status, 400)
  assert.match(wrong.body, /type/)
})

test('closing the platform from its page needs a confirmation, opening it one click', async () => {
  const before = await open('/admin')
  const asked = await browser.submit(before, '/admin/closing', { enabled: 'yes', message: 'Back <b>soon</b>' })
  assert.equal(asked.status, 422)
  assert.match(asked.body, /<p class="error">Tick &quot;Yes, turn visitors away now&quot;/)
  assert.match(asked.body, />\nBack &lt;b&gt;soon&lt;\/b&gt;<\/textarea>/, 'what was typed is still there')
  assert.equal(app.maintenance.state.enabled, false)

  const past = { enabled: 'yes', confirm: 'on', until: '2001-01-01T00:00' }
  assert.equal((await browser.submit(before, '/admin/closing', past)).status, 422)

  const until = new Date(Date.now() + 3_600_000).toISOString().slice(0, 16)
  const closed = await browser.submit(before, '/admin/closing', {
    enabled: 'yes',
    confirm: 'on',
    message: 'Soon',
    until
  })
  assert.equal(closed.status, 200)
  assert.match(closed.body, /The platform is closed/)
  assert.partialDeepStrictEqual(app.maintenance.state, { enabled: true, message: 'Soon', until: `${until}:00.000Z` })
  assert.equal((await new TestBrowser().open(`${base}/api/v1/regions`)).status, 503)

  const opened = await browser.submit(closed, '/admin/closing', { enabled: 'no' })
  assert.equal(opened.status, 200)
  assert.equal(app.maintenance.state.enabled, false)
  const rows = await app.db
    .select()
    .from(auditLogs)
    .where(and(eq(auditLogs.resource, 'maintenance'), eq(auditLogs.outcome, 'success')))
    .orderBy(auditLogs.createdAt)
  assert.deepEqual(
    rows.map(({ action, actor }) => [action, actor]),
    [
      ['close', name],
      ['reopen', name]
    ]
  )
})

test('an operator can grant and revoke the role, but not their own', async () => {
  await signedIn('ada')
  const list = await open('/admin/users?username=ada')
  const [, action = ''] = /action="(\/admin\/users\/[^"]+\/role)"/.exec(list.body) ?? []
  const given = await browser.submit(list, action, { operator: 'yes' })
  assert.equal(given.status, 200)
  assert.match((await open('/admin/users?username=ada')).body, /class="tag accent">operator/)
  await browser.submit(list, action, { operator: 'no' })
  assert.doesNotMatch((await open('/admin/users?username=ada')).body, /class="tag accent">operator/)
  assert.doesNotMatch((await open(`/admin/users?username=${name}`)).body, /action="\/admin\/users\//)
})

test('a dead job can be retried from its row', async () => {
  const page: Page = await open('/admin/jobs?state=dead')
  assert.match(page.body, /No dead jobs/)
  const gone = await browser.submit(
    await open('/admin'),
    '/admin/jobs/deploy.0197a4b2-5d1c-7c3e-9a51-0c4f6e1b2d3a/again',
    {}
  )
  assert.equal(gone.status, 404)
})

test('names of apps and people are escaped on every page', async () => {
  await app.db.execute(sql`update teams set name = '<img src=x onerror=alert(1)>'`)
  for (const path of ['/admin', '/admin/audit', '/admin/users', '/dashboard'])
    assert.doesNotMatch((await open(path)).body, /<img src=x/)
})
