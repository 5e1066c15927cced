import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { and, eq } from 'drizzle-orm'
import { auditLogs, teamInvitations, teamMembers, teams, users } from '../../drizzle/schema.ts'
import { createLocalAccount } from '../../src/domain/accounts/local-accounts.ts'
import { createApp, deleteApp } from '../../src/domain/apps/apps.ts'
import { auditLog } from '../domain/support.ts'
import { testApp } from '../support/app.ts'
import { type Page, TestBrowser } from '../support/browser.ts'

const { app } = await testApp(
  { after } as never,
  {
    LOCAL_ACCOUNTS: 'true',
    RATE_LIMIT_AUTH: '10000/s:10000',
    RATE_LIMIT_STRICT: '10000/s:10000',
    RATE_LIMIT_GENERAL: '10000/s:10000'
  },
  { pressure: false }
)
const { db } = app
const base = await app.listen({ host: '127.0.0.1', port: 0 })
const PASSWORD = 'quite a long sentence about rivers'
const grace = await person('grace')
const ada = await person('ada')
let serial = 0

/** A user with a browser and a verified address. */
async function person(username: string) {
  const { id, code } = await db.transaction(async tx => {
    const { user, code } = await createLocalAccount(tx, auditLog, username, 'test', 'pro')
    return { id: user.id, code }
  })
  const email = `${username}@example.com`
  await db.update(users).set({ email, emailVerifiedAt: new Date() }).where(eq(users.id, id))
  const browser = new TestBrowser()
  const reset = await browser.open(`${base}/auth/reset`)
  const page = await browser.submit(reset, '/auth/reset', { login: username, code, password: PASSWORD })
  assert.equal(page.status, 200, page.body)
  return { id, username, email, browser, open: (path: string) => browser.open(new URL(path, base).href) }
}

/** A team of Grace's, with Ada in a role where one is given. */
async function teamOf(role?: 'member' | 'admin' | 'owner') {
  const form = await grace.open('/teams/new')
  const slug = `team-${++serial}`
  const page = await grace.browser.submit(form, '/teams/new', { name: `Team ${serial}`, slug })
  const [team] = await db.select().from(teams).where(eq(teams.slug, slug))
  if (role !== undefined) await db.insert(teamMembers).values({ teamId: team!.id, userId: ada.id, role })
  return { id: team!.id, slug, url: `/teams/${slug}`, page }
}

async function roleIn(teamId: string, { id }: { id: string }): Promise<string | undefined> {
  const held = and(eq(teamMembers.teamId, teamId), eq(teamMembers.userId, id))
  return (await db.select().from(teamMembers).where(held))[0]?.role
}

const linkIn = ({ body }: Page) => /http[^"<\s]+\/invitations\/accept\?token=[0-9a-f]{64}/.exec(body)?.[0]
const pathOf = (link: string) => new URL(link).pathname + new URL(link).search
const tokenIn = ({ body }: Page) => /name="token" value="([0-9a-f]{64})"/.exec(body)?.[1] ?? ''

test('creating a team redirects to its page, and a taken slug is reported in the form', async () => {
  const { slug, url, page } = await teamOf()
  assert.equal(page.status, 200)
  assert.equal(new URL(page.url).pathname, url)
  assert.match(page.body, /you are the owner/)
  assert.match(page.body, /You are the only member of this team/)
  assert.match(page.body, new RegExp(`<a href="${url}" aria-current="page"`), 'the navigation leads here')

  const again = await grace.browser.submit(page, '/teams/new', { name: 'Another <name>', slug })
  assert.equal(again.status, 409)
  assert.match(again.body, new RegExp(`The slug &quot;${slug}&quot; is taken`))
  assert.match(again.body, /value="Another &lt;name&gt;"/, 'what was typed is still there')
  assert.equal((await grace.browser.submit(page, '/teams/new', { name: 'x', slug: 'No Slug' })).status, 422)
})

test('the link of an invitation is shown once, and makes its recipient a member', async () => {
  const { id, url, page } = await teamOf()
  const fields = { email: ada.email, role: 'admin', _key: crypto.randomUUID() }
  const invited = await grace.browser.submit(page, `${url}/invitations`, fields)
  assert.equal(invited.status, 200, invited.body)
  const link = linkIn(invited)
  assert.ok(link)
  const replayed = await grace.browser.submit(page, `${url}/invitations`, fields)
  assert.deepEqual([replayed.status, linkIn(replayed)], [200, undefined], 'a replay does not show the link')
  assert.match(replayed.body, /<strong>ada@example\.com<\/strong>/)

  const first = await ada.browser.open(new URL(pathOf(link), base).href, { follow: false })
  assert.deepEqual([first.status, first.headers.get('location')], [303, '/invitations/accept'])
  assert.equal(first.headers.get('referrer-policy'), 'no-referrer')
  const asked = await ada.open('/invitations/accept')
  assert.match(asked.body, new RegExp(`Join Team ${serial}\\?`))
  for (const told of [/grace/, />admin</, /ada@example\.com/]) assert.match(asked.body, told)
  assert.equal(await roleIn(id, ada), undefined, 'to look is not to join')

  const answer = { token: tokenIn(asked), answer: 'accept' }
  const joined = await ada.browser.submit(asked, '/invitations/accept', answer)
  assert.equal(new URL(joined.url).pathname, url)
  assert.equal(await roleIn(id, ada), 'admin')
  const used = await ada.browser.submit(joined, '/invitations/accept', answer)
  assert.equal(used.status, 409)
  assert.match(used.body, /This invitation is used already/)
})

test('other users only learn that it is not for them, and the recipient can decline', async () => {
  const { id, url, page } = await teamOf()
  const link = linkIn(await grace.browser.submit(page, `${url}/invitations`, { email: ada.email }))!
  const eve = await person('eve')
  const refused = await eve.open(pathOf(link))
  assert.equal(refused.status, 403)
  assert.match(refused.body, /not for your verified e-mail address/)
  assert.ok(!refused.body.includes(`Team ${serial}`) && !refused.body.includes(ada.email))

  const asked = await ada.open(pathOf(link))
  const declined = await ada.browser.submit(asked, '/invitations/accept', { token: tokenIn(asked), answer: 'decline' })
  assert.match(declined.body, /You declined the invitation/)
  const [row] = await db.select().from(teamInvitations).where(eq(teamInvitations.teamId, id))
  assert.ok(row!.revokedAt)
  const [event] = await db
    .select()
    .from(auditLogs)
    .where(and(eq(auditLogs.teamId, id), eq(auditLogs.action, 'decline')))
  assert.deepEqual([event!.userId, event!.details], [ada.id, { role: 'member' }])
  assert.equal((await ada.open(pathOf(link))).status, 409)
  assert.match((await ada.open('/invitations/accept')).body, /This invitation is revoked/)
  const unknown = await ada.open(`/invitations/accept?token=${'0'.repeat(64)}`)
  assert.equal(unknown.status, 404)
  assert.match(unknown.body, /This invitation does not exist/)
})

test('without a link the token can be pasted', async () => {
  const { url, page } = await teamOf()
  const link = linkIn(await grace.browser.submit(page, `${url}/invitations`, { email: ada.email }))!
  const blank = await new TestBrowser().open(`${base}/invitations/accept`, { follow: false })
  assert.match(String(blank.headers.get('location')), /^\/login\?next=/)
  const zoe = await person('zoe')
  const form = await zoe.open('/invitations/accept')
  assert.match(form.body, /paste its token/)
  const wrong = await zoe.browser.submit(form, '/invitations/accept', { token: 'nothing' })
  assert.deepEqual([wrong.status, /id="token-error"/.test(wrong.body)], [422, true])
  const pasted = await ada.browser.submit(await ada.open('/invitations/accept'), '/invitations/accept', {
    token: new URL(link).searchParams.get('token')!
  })
  assert.equal(pasted.status, 200)
  assert.match(pasted.body, /Join Team/)
})

test('a new link replaces the old one, and a revoked invitation is no longer listed', async () => {
  const { id, url, page } = await teamOf()
  const old = linkIn(await grace.browser.submit(page, `${url}/invitations`, { email: ada.email, role: 'admin' }))!
  const [row] = await db.select().from(teamInvitations).where(eq(teamInvitations.teamId, id))
  const renewed = await grace.browser.submit(page, `${url}/invitations/${row!.id}/again`, {})
  const link = linkIn(renewed)!
  assert.notEqual(link, old)
  assert.equal((await ada.open(pathOf(old))).status, 409)
  assert.match((await ada.open(pathOf(link))).body, />admin</, 'the role is the same')
  const [, action] = new RegExp(`action="(${url}/invitations/[^/"]+/revoke)"`).exec(renewed.body) ?? []
  const revoked = await grace.browser.submit(renewed, action!, {})
  assert.match(revoked.body, /The invitation was revoked/)
  assert.ok(!revoked.body.includes(ada.email))
})

test('an owner can change roles, but not that of the last owner', async () => {
  const { id, url, page } = await teamOf('member')
  const own = `${url}/members/${grace.id}`
  const refused = await grace.browser.submit(page, `${own}/role`, { role: 'member' })
  assert.equal(refused.status, 409)
  assert.match(refused.body, /A team needs an owner/)
  assert.equal((await grace.browser.submit(page, `${own}/remove`, {})).status, 409)
  await grace.browser.submit(page, `${url}/members/${ada.id}/role`, { role: 'admin' })
  assert.equal(await roleIn(id, ada), 'admin')
  const removed = await grace.browser.submit(page, `${url}/members/${ada.id}/remove`, {})
  assert.match(removed.body, /They are no longer in the team/)
  assert.equal(await roleIn(id, ada), undefined)
})

test('members can see the members and leave; other actions are neither shown nor possible', async () => {
  const { id, url } = await teamOf('member')
  const page = await ada.open(url)
  assert.match(page.body, /you are a member/)
  for (const hidden of ['/invitations"', '/role"', '/transfer"', '/delete"', 'Recent events'])
    assert.ok(!page.body.includes(hidden), hidden)
  for (const [path, fields] of [
    ['', { name: 'mine' }],
    ['/invitations', { email: 'x@example.com' }],
    [`/members/${grace.id}/remove`, {}],
    [`/members/${ada.id}/role`, { role: 'owner' }],
    ['/transfer', { user: ada.id }],
    ['/delete', { confirm: 'x' }]
  ] as const)
    assert.equal((await ada.browser.submit(page, url + path, fields as Record<string, string>)).status, 403, path)
  const left = await ada.browser.submit(page, `${url}/members/${ada.id}/remove`, {})
  assert.deepEqual([left.status, new URL(left.url).pathname], [200, '/dashboard'])
  assert.equal(await roleIn(id, ada), undefined)
  assert.equal((await ada.open(url)).status, 404)
})

test('a renamed team has a new URL, and of two concurrent renames the second is refused', async () => {
  const { slug, url, page } = await teamOf()
  const names = { name: 'Renamed', slug: `${slug}-new`, _rev: '1' }
  const renamed = await grace.browser.submit(page, url, names)
  assert.equal(new URL(renamed.url).pathname, `${url}-new`)
  const late = await grace.browser.submit(renamed, `${url}-new`, { ...names, name: 'Too late' })
  assert.ok([409, 412].includes(late.status), String(late.status))
  assert.match(late.body, /value="Too late"/)
  assert.match(late.body, /As it is now: <code>Renamed<\/code>/)
})

test('a team can be transferred, and its former owner becomes an admin', async () => {
  const { id, url, page } = await teamOf('member')
  const given = await grace.browser.submit(page, `${url}/transfer`, { user: ada.id })
  assert.match(given.body, /The team has a new owner/)
  assert.deepEqual([await roleIn(id, ada), await roleIn(id, grace)], ['owner', 'admin'])
})

test('deleting a team requires typing its slug, and fails while it has apps', async () => {
  const { id, slug, url } = await teamOf()
  const asked = await grace.open(`${url}/delete`)
  const wrong = await grace.browser.submit(asked, `${url}/delete`, { confirm: 'something' })
  assert.deepEqual([wrong.status, /so nothing was deleted/.test(wrong.body)], [422, true])
  const made = await createApp(db, id, { name: 'in the way' })
  assert.match((await grace.open(`${url}/delete`)).body, /The team still has an app/)
  assert.equal((await grace.browser.submit(asked, `${url}/delete`, { confirm: slug })).status, 409)
  await db.transaction(tx => deleteApp(tx, made, undefined))
  const gone = await grace.browser.submit(asked, `${url}/delete`, { confirm: slug })
  assert.deepEqual([gone.status, new URL(gone.url).pathname], [200, '/dashboard'])
  assert.equal((await grace.open(url)).status, 404)
})

test('names of teams and people are escaped on every page', async () => {
  const { id, url } = await teamOf('admin')
  await db.update(teams).set({ name: '<img src=x onerror=alert(1)>' }).where(eq(teams.id, id))
  for (const path of [url, `${url}/delete`]) assert.doesNotMatch((await grace.open(path)).body, /<img src=x/)
})
