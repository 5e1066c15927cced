import assert from 'node:assert/strict'
import { after, afterEach, describe, test } from 'node:test'
import { eq } from 'drizzle-orm'
import { auditLogs, sessions, teamMembers, teams, users } from '../../drizzle/schema.ts'
import { buildApp } from '../../src/app.ts'
import { generateKey, type Keyring, parseKeyring } from '../../src/config/keyring.ts'
import { grantOperator } from '../../src/domain/accounts/operators.ts'
import { createToken } from '../../src/domain/accounts/tokens.ts'
import { addTeam, auditLog } from '../domain/support.ts'
import { fakeUser, startFakeGithub } from '../fakes/github/server.ts'
import { testApp } from '../support/app.ts'
import { type Page, TestBrowser } from '../support/browser.ts'
import { eventually } from '../support/eventually.ts'
import { freePort } from '../support/free-port.ts'

const github = await startFakeGithub()
after(() => github.close())
const port = await freePort()
const base = `http://127.0.0.1:${port}`
github.redirectUris.push(`${base}/auth/callback`)

const { app, as, token, config } = await testApp({ after } as never, {
  BASE_URL: base,
  GITHUB_CLIENT_ID: github.clientId,
  GITHUB_CLIENT_SECRET: github.clientSecret,
  GITHUB_URL: github.url,
  GITHUB_API_URL: github.url,
  RATE_LIMIT_AUTH: '10000/s:10000',
  RATE_LIMIT_STRICT: '10000/s:10000'
})
await app.listen({ host: '127.0.0.1', port })

let nextId = 1_000
afterEach(() => {
  github.outage = null
  github.decision = 'authorize'
})

/** A new GitHub user with a browser. */
function somebody(login: string) {
  const user = fakeUser(nextId++, login)
  const browser = new TestBrowser()
  return { user, browser, signIn: (path = '/auth/github') => as_(user, () => browser.open(base + path)) }
}

function as_<Result>(user: typeof github.user, act: () => Promise<Result>): Promise<Result> {
  github.user = user
  return act()
}

const me = async (browser: TestBrowser) => browser.open(`${base}/api/v1/me`)
const rowOf = async (githubId: number) => (await app.db.select().from(users).where(eq(users.githubId, githubId)))[0]

/** The URL that GitHub sends the browser back to, not yet opened. */
async function comeBack(browser: TestBrowser): Promise<string> {
  const toGithub = (await browser.open(`${base}/auth/github`, { follow: false })).headers.get('location')!
  return (await browser.open(toGithub, { follow: false })).headers.get('location')!
}

function refused(page: Page, status: number, what: RegExp): void {
  assert.equal(page.status, status, page.body)
  assert.match(String(page.headers.get('content-type')), /^text\/html/)
  assert.match(page.body, what)
  assert.match(page.body, /<a [^>]*href="\/login">Sign in again<\/a>/)
}

describe('signing in with GitHub', () => {
  test('creates a user with a personal team, and signs them in', async () => {
    const { user, browser, signIn } = somebody('ada')
    const page = await signIn()
    assert.deepEqual([page.status, page.url], [200, `${base}/dashboard`])
    assert.match(page.body, /Account of <\/span><span class="truncate">ada</)
    const { username, email, isOperator } = JSON.parse((await me(browser)).body)
    assert.deepEqual([username, email, isOperator], ['ada', 'ada@example.com', false])

    const row = (await rowOf(user.id))!
    const owned = await app.db
      .select({ slug: teams.slug, name: teams.name, role: teamMembers.role })
      .from(teamMembers)
      .innerJoin(teams, eq(teams.id, teamMembers.teamId))
      .where(eq(teamMembers.userId, row.id))
    assert.deepEqual(owned, [{ slug: 'ada', name: "ada's Team", role: 'owner' }])
    const events = await app.db.select().from(auditLogs).where(eq(auditLogs.userId, row.id))
    assert.deepEqual(events.map(event => `${event.resource}.${event.action}`).sort(), [
      'session.login',
      'team.create',
      'user.create'
    ])
    const login = events.find(event => event.action === 'login')!
    assert.deepEqual([login.actor, login.ip, login.details], ['ada', '127.0.0.1', { method: 'github' }])
  })

  test('recognizes a renamed user, and updates changed data', async () => {
    const { user, browser, signIn } = somebody('grace')
    await signIn()
    const first = (await rowOf(user.id))!
    user.login = 'grace-hopper'
    await signIn()
    const second = (await rowOf(user.id))!
    assert.deepEqual([second.id, second.username], [first.id, 'grace-hopper'])
    assert.equal(JSON.parse((await me(browser)).body).id, first.id)
    assert.equal((await app.db.select().from(teamMembers).where(eq(teamMembers.userId, first.id))).length, 1)
  })

  test('is not blocked by a slug that is taken or reserved', async () => {
    await addTeam(app.db, {}, 'linus')
    for (const login of ['linus', 'admin', '123', 'x'])
      assert.match(
        (await somebody(login).signIn()).body,
        new RegExp(`Account of </span><span class="truncate">${login}<`)
      )
  })

  test('of one person in two browsers concurrently creates one user with one team', async () => {
    const user = fakeUser(nextId++, 'twin')
    github.user = user
    const [one, two] = [new TestBrowser(), new TestBrowser()]
    const backs = [await comeBack(one), await comeBack(two)]
    const pages = await Promise.all([one.open(backs[0]!), two.open(backs[1]!)])
    assert.deepEqual(
      pages.map(page => page.status),
      [200, 200]
    )
    const rows = await app.db.select().from(users).where(eq(users.githubId, user.id))
    assert.equal(rows.length, 1)
    assert.equal((await app.db.select().from(teamMembers).where(eq(teamMembers.userId, rows[0]!.id))).length, 1)
  })

  test('sends PKCE, the exact redirect and little else', async () => {
    const page = await new TestBrowser().open(`${base}/auth/github`, { follow: false })
    assert.equal(page.status, 302)
    const { origin, pathname, searchParams } = new URL(page.headers.get('location')!)
    assert.equal(origin + pathname, `${github.url}/login/oauth/authorize`)
    const { state, code_challenge, ...query } = Object.fromEntries(searchParams)
    assert.match(code_challenge!, /^[\w-]{43}$/)
    assert.ok(state!.length >= 43)
    assert.deepEqual(query, {
      response_type: 'code',
      client_id: github.clientId,
      redirect_uri: `${base}/auth/callback`,
      scope: 'read:user user:email',
      code_challenge_method: 'S256'
    })
    assert.match(page.headers.getSetCookie()[0]!, /^rhone_sign_in=[^;]+; Path=\/; Max-Age=600; HttpOnly; SameSite=Lax$/)
  })

  test('redirects to the requested path, but never to another server', async () => {
    const { browser, signIn } = somebody('mover')
    assert.equal((await signIn('/auth/github?next=%2Fapi%2Fv1%2Fme%3Fx%3D1')).url, `${base}/api/v1/me?x=1`)
    for (const next of [
      'https://evil.example/',
      '//evil.example',
      '/\\evil.example',
      '\\\\evil.example',
      '/\t/evil.example',
      '/.//evil.example',
      '/..//evil.example',
      'javascript:alert(1)',
      '@evil.example',
      `${base}@evil.example`,
      '/%0d%0aset-cookie:x=1',
      ' //evil.example'
    ]) {
      const page = await as_(fakeUser(999, 'mover'), () =>
        browser.open(`${base}/auth/github?next=${encodeURIComponent(next)}`)
      )
      assert.equal(new URL(page.url).origin, base, next)
    }
  })
})

describe('a refused sign-in explains why, and what to do', () => {
  const cases: [string, () => void, number, RegExp][] = [
    [
      'the user declines',
      () => {
        github.decision = 'deny'
      },
      403,
      /You declined at GitHub/
    ],
    [
      'the address is not verified',
      () => {
        github.user.emails[1]!.verified = false
      },
      403,
      /Verify your primary address at http[^ ]+\/settings\/emails, then sign in again/
    ],
    [
      'the API is down',
      () => {
        github.outage = { path: '/user', status: 502 }
      },
      503,
      /GitHub does not answer/
    ],
    [
      'the exchange hangs up',
      () => {
        github.outage = { path: '/login/oauth/access', status: 0 }
      },
      503,
      /does not answer/
    ],
    [
      'the token is not taken',
      () => {
        github.outage = { path: '/user/emails', status: 404 }
      },
      500,
      /operators of this server/
    ]
  ]
  for (const [name, arrange, status, what] of cases)
    test(`when ${name}`, async () => {
      const browser = new TestBrowser()
      github.user = fakeUser(nextId++, 'refused')
      arrange()
      refused(await browser.open(`${base}/auth/github`), status, what)
      assert.equal((await me(browser)).status, 401)
      assert.equal(await rowOf(github.user.id), undefined)
    })

  test('and the sign-in page explains each error code, without echoing the query', async () => {
    const codes = [
      'invalid_state',
      'github_error',
      'token_exchange',
      'user_fetch',
      'email_unverified',
      'database',
      'session'
    ]
    const textOf = async (code: string) => {
      const page = await new TestBrowser().open(`${base}/login?error=${encodeURIComponent(code)}`)
      assert.equal(page.status, 200)
      return /role="alert">.*?<strong>([^<]+)</.exec(page.body)?.[1] ?? ''
    }
    const texts = await Promise.all(codes.map(textOf))
    assert.equal(new Set(texts).size, codes.length)
    for (const text of texts) assert.match(text, /again|allow|Try/)
    assert.match(texts[codes.indexOf('email_unverified')]!, /Verify it in the settings/)
    for (const other of ['constructor', '<b>x</b>', 'x']) assert.match(await textOf(other), /was not completed/)
  })

  test('if GitHub does not know the redirect URL', async () => {
    const browser = new TestBrowser()
    const back = new URL(await comeBack(browser))
    back.searchParams.delete('code')
    back.searchParams.set('error', 'redirect_uri_mismatch')
    refused(await browser.open(back.href), 500, /operators of this server/)
  })

  test('and it is in the audit log', async () => {
    github.decision = 'deny'
    await new TestBrowser().open(`${base}/auth/github`)
    const denied = await eventually(
      () => app.db.select().from(auditLogs).where(eq(auditLogs.outcome, 'denied')),
      rows => rows.some(row => row.action === 'login')
    )
    assert.ok(denied.some(row => row.resource === 'session'))
  })
})

describe('an attacker', () => {
  test('a link with the sender’s own code signs nobody in', async () => {
    const attacker = new TestBrowser()
    const link = await as_(fakeUser(nextId++, 'eve'), () => comeBack(attacker))
    const victim = new TestBrowser()
    refused(await victim.open(link), 400, /not started in this browser/)
    await comeBack(victim)
    refused(await victim.open(link), 400, /not the latest sign-in of this browser/)
    assert.equal((await me(victim)).status, 401)
  })

  test('replaying a callback fails, even with the cookie', async () => {
    const { browser, user } = somebody('replayed')
    const back = await as_(user, () => comeBack(browser))
    const cookie = browser.cookie(base, 'rhone_sign_in')!
    assert.equal((await browser.open(back)).status, 200)
    refused(await browser.open(back), 400, /not started in this browser/)
    const thief = new TestBrowser()
    thief.set(base, 'rhone_sign_in', cookie)
    refused(await thief.open(back), 400, /already used/)
  })

  test('injecting a stolen code fails at PKCE', async () => {
    const victim = new TestBrowser()
    const stolen = new URL(await as_(fakeUser(nextId++, 'victim'), () => comeBack(victim))).searchParams.get('code')!
    const attacker = new TestBrowser()
    const own = new URL(await as_(fakeUser(nextId++, 'mallory'), () => comeBack(attacker)))
    own.searchParams.set('code', stolen)
    refused(await attacker.open(own.href), 400, /GitHub does not recognize this sign-in/)
    assert.equal((await me(attacker)).status, 401)
  })

  test('forging the state or the cookie fails', async () => {
    for (const [name, change] of Object.entries({
      none: (url: URL) => url.searchParams.delete('state'),
      empty: (url: URL) => url.searchParams.set('state', ''),
      other: (url: URL) => url.searchParams.set('state', `${url.searchParams.get('state')!.slice(0, -1)}!`)
    })) {
      const browser = new TestBrowser()
      const url = new URL(await comeBack(browser))
      change(url)
      refused(await browser.open(url.href), 400, /not the latest sign-in/)
      assert.equal(browser.cookie(base, 'rhone_sign_in'), undefined, name)
    }
    const browser = new TestBrowser()
    const back = await comeBack(browser)
    const [verifier, end, next] = browser.cookie(base, 'rhone_sign_in')!.split('.')
    browser.set(base, 'rhone_sign_in', `${verifier}.${Number(end) + 1}.${next}`)
    refused(await browser.open(back), 400, /not the latest sign-in/)
  })

  test('session fixation fails', async () => {
    const { browser, signIn } = somebody('fixated')
    const planted = 'B'.repeat(43)
    browser.set(base, 'rhone_session', planted)
    await signIn()
    assert.notEqual(browser.cookie(base, 'rhone_session'), planted)
    const attacker = new TestBrowser()
    attacker.set(base, 'rhone_session', planted)
    assert.equal((await me(attacker)).status, 401)
  })

  test('an app on a sibling host can neither change anything nor sign anybody out', async () => {
    const { browser, signIn } = somebody('sibling')
    const home = await signIn()
    const strangers: Record<string, string>[] = [
      { origin: 'http://evil.127.0.0.1', 'sec-fetch-site': 'same-site' },
      { origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' },
      { origin: 'null' }
    ]
    for (const headers of strangers) {
      assert.equal((await browser.submit(home, '/logout', {}, { headers })).status, 403)
      const post = await browser.open(`${base}/api/v1/apps`, {
        method: 'POST',
        body: '{"name":"forged"}',
        headers: { 'content-type': 'application/json', ...headers }
      })
      assert.equal(post.status, 403)
    }
    assert.equal((await browser.submit(home, '/logout', { _csrf: 'x' })).status, 403)
    assert.equal((await me(browser)).status, 200)
  })
})

describe('signing out', () => {
  test('ends the session on the server, removes the cookie and clears what the browser keeps', async () => {
    const { browser, user, signIn } = somebody('leaver')
    const home = await signIn()
    const secret = browser.cookie(base, 'rhone_session')!
    const page = await browser.submit(home, '/logout', {}, { follow: false })
    assert.deepEqual([page.status, page.headers.get('location')], [303, '/login'])
    assert.equal(page.headers.get('clear-site-data'), '"storage", "prefetchCache", "prerenderCache"')
    assert.equal(browser.cookie(base, 'rhone_session'), undefined)
    browser.set(base, 'rhone_session', secret)
    assert.equal((await me(browser)).status, 401)
    const row = (await rowOf(user.id))!
    assert.equal((await app.db.select().from(sessions).where(eq(sessions.userId, row.id))).length, 0)
    const events = await app.db.select().from(auditLogs).where(eq(auditLogs.userId, row.id))
    assert.ok(events.some(event => event.action === 'logout'))
  })

  test('of another session, or all, takes effect with their next request', async () => {
    const { browser: laptop, user, signIn } = somebody('many')
    await signIn()
    const phone = new TestBrowser()
    await as_(user, () => phone.open(`${base}/auth/github`))
    assert.equal((await me(phone)).status, 200)

    const list = JSON.parse((await laptop.open(`${base}/api/v1/me/sessions`)).body)
    assert.deepEqual(
      list.items.map((item: { current: boolean }) => item.current),
      [false, true]
    )
    const remove = (path: string, browser = laptop) =>
      browser.open(base + path, { method: 'DELETE', headers: { origin: base, 'sec-fetch-site': 'same-origin' } })
    assert.equal((await remove(`/api/v1/me/sessions/${list.items[0].id}`)).status, 204)
    assert.equal((await me(phone)).status, 401)
    assert.equal((await remove(`/api/v1/me/sessions/${list.items[0].id}`)).status, 404)

    await as_(user, () => phone.open(`${base}/auth/github`))
    assert.deepEqual(JSON.parse((await remove('/api/v1/me/sessions?keepCurrent=true')).body), { revoked: 1 })
    assert.equal((await me(phone)).status, 401)
    assert.equal((await me(laptop)).status, 200)
    assert.deepEqual(JSON.parse((await remove('/api/v1/me/sessions')).body), { revoked: 1 })
    assert.equal((await me(laptop)).status, 401)
  })

  test('is possible only for one’s own sessions', async () => {
    const { browser, signIn } = somebody('owner')
    await signIn()
    const { items } = JSON.parse((await browser.open(`${base}/api/v1/me/sessions`)).body)
    assert.equal((await as(token, 'DELETE', `/api/v1/me/sessions/${items[0].id}`)).statusCode, 404)
    assert.equal((await me(browser)).status, 200)
  })
})

describe('a session', () => {
  test('from before its user became an operator ends, and the next one has operator rights', async () => {
    const { browser, user, signIn } = somebody('promoted')
    await signIn()
    assert.equal((await browser.open(`${base}/admin/stats`)).status, 403)
    await grantOperator(app.db, auditLog, (await rowOf(user.id))!.id, { name: 'test' })
    assert.equal(
      await eventually(
        async () => (await me(browser)).status,
        status => status === 401
      ),
      401
    )
    await signIn()
    assert.equal((await browser.open(`${base}/admin/stats`)).status, 200)
  })

  test('is extended by use, and ends after idle time', async () => {
    const { browser, user, signIn } = somebody('sliding')
    await signIn()
    const row = (await rowOf(user.id))!
    const hourAgo = new Date(Date.now() - 3_600_000)
    await app.db.update(sessions).set({ lastSeenAt: hourAgo, idleUntil: new Date(Date.now() + 60_000) })
    app.auth.forget()
    assert.equal((await me(browser)).status, 200)
    const [renewed] = await app.db.select().from(sessions).where(eq(sessions.userId, row.id))
    assert.ok(renewed!.idleUntil.getTime() > Date.now() + 6.9 * 86_400_000)
    await app.db.update(sessions).set({ idleUntil: hourAgo }).where(eq(sessions.userId, row.id))
    app.auth.forget()
    assert.equal((await me(browser)).status, 401)
  })

  test('can create an API token only shortly after the sign-in', async () => {
    const { browser, user, signIn } = somebody('maker')
    await signIn()
    const make = () =>
      browser.open(`${base}/api/v1/me/tokens`, {
        method: 'POST',
        body: '{"name":"ci","scopes":["read"]}',
        headers: { 'content-type': 'application/json', origin: base, 'sec-fetch-site': 'same-origin' }
      })
    const made = await make()
    assert.equal(made.status, 201, made.body)
    assert.equal(JSON.parse(made.body).expiresAt, null)
    const row = (await rowOf(user.id))!
    await app.db
      .update(sessions)
      .set({ createdAt: new Date(Date.now() - 16 * 60_000) })
      .where(eq(sessions.userId, row.id))
    app.auth.forget()
    assert.equal((await make()).status, 403)
  })
})

test('sessions and access tokens outlive the rotation of keys', async t => {
  const { browser, user, signIn } = somebody('rotated')
  await signIn()
  const userId = (await rowOf(user.id))!.id
  const { token: apiToken } = await createToken(app.db, { userId, name: 'ci', scopes: ['read'] })
  const { accessToken } = (await as(apiToken, 'POST', '/api/v1/auth/token', {})).json()

  const rotate = (ring: Keyring) => {
    const { current } = parseKeyring(generateKey(new Date(0)))
    return { current, keys: new Map([[current.id, current.key], ...ring.keys]) }
  }
  const { session, signing } = config.keys
  const keys = { ...config.keys, session: rotate(session!), signing: rotate(signing!) }
  const restarted = await buildApp({ ...config, keys }, { pressure: false })
  t.after(() => restarted.close())
  await restarted.ready()
  await restarted.startup.completed
  for (const headers of [
    { cookie: `rhone_session=${browser.cookie(base, 'rhone_session')}` },
    { authorization: `Bearer ${accessToken}` }
  ])
    assert.equal((await restarted.inject({ url: '/api/v1/me', headers })).json().id, userId)
})

test('over https, cookies are Secure and bound to this host, even outside production', async t => {
  const { app: staging } = await testApp(
    t,
    { BASE_URL: 'https://rhone.example.com', LOCAL_ACCOUNTS: 'true' },
    { pressure: false }
  )
  const cookie = String((await staging.inject('/login')).headers['set-cookie'])
  assert.match(cookie, /^__Host-rhone_visitor=[^;]+; Path=\/; Max-Age=\d+; HttpOnly; SameSite=Lax; Secure$/)
})

test('the sign-in page offers the configured methods, and keeps the destination', async () => {
  const page = await new TestBrowser().open(`${base}/login?next=%2Fapi%2Fv1%2Fme`)
  assert.equal(page.status, 200)
  assert.match(page.body, /href="\/auth\/github\?next=%2Fapi%2Fv1%2Fme"/)
  assert.doesNotMatch(page.body, /type="password"/)
  assert.match(String(page.headers.get('content-security-policy')), /script-src 'nonce-/)
})
