import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { eventually } from '../support/eventually.ts'
import { platform } from './support.ts'

const { as, token, app } = await platform({ after })

const shown = async () => (await as(null, 'GET', '/status.json')).json()
const open = (body: object) => as(token, 'POST', '/admin/incidents', body)

test('an incident can be opened, updated and closed, appears on the status page immediately, and is audited', async () => {
  const opened = await open({
    title: 'Requests <fail>',
    severity: 'critical',
    components: ['api'],
    message: 'We are looking into it.'
  })
  assert.equal(opened.statusCode, 201)
  const { id } = opened.json()
  const during = await eventually(shown, ({ incidents }) => incidents.length === 1)
  assert.equal(during.status, 'outage')
  assert.equal(during.incidents[0].updates[0].message, 'We are looking into it.')
  const page = await as(null, 'GET', '/status')
  assert.match(page.body, /Requests &lt;fail&gt;/)

  const updated = await as(token, 'POST', `/admin/incidents/${id}/updates`, {
    message: 'It is the database.\nWe mend it.'
  })
  assert.equal(updated.statusCode, 200)
  const closed = await as(token, 'POST', `/admin/incidents/${id}/close`, { message: 'It is over.' })
  assert.ok(closed.json().closedAt)
  const over = await eventually(shown, ({ incidents }) => incidents[0].closedAt !== null)
  assert.deepEqual(
    over.incidents[0].updates.map(({ message }: { message: string }) => message),
    ['It is over.', 'It is the database.\nWe mend it.', 'We are looking into it.']
  )
  const { items } = (await as(token, 'GET', '/admin/audit?type=admin')).json()
  const actions = items.filter(({ resource }: { resource: string }) => resource === 'incident')
  assert.deepEqual(
    actions.map(({ action }: { action: string }) => action),
    ['close', 'update', 'open']
  )
  assert.equal(actions[0].resourceName, 'Requests <fail>')
})

test('each step may be repeated, and changes nothing the second time', async () => {
  const body = { title: 'Twice', severity: 'low' }
  const first = await open(body)
  const second = await open(body)
  assert.deepEqual([first.statusCode, second.statusCode], [201, 200])
  const { id } = first.json()
  assert.equal(second.json().id, id)
  const update = () => as(token, 'POST', `/admin/incidents/${id}/updates`, { message: 'Again' })
  assert.equal((await update()).json().updates.length, 1)
  assert.equal((await update()).json().updates.length, 1)
  const close = () => as(token, 'POST', `/admin/incidents/${id}/close`, {})
  assert.equal((await close()).json().closedAt, (await close()).json().closedAt)
  assert.equal((await as(token, 'POST', `/admin/incidents/${id}/updates`, { message: 'Late' })).statusCode, 409)
  assert.equal((await open(body)).statusCode, 201, 'the next one of this title is another')
})

test('of two concurrent requests to open the same incident, one does', async () => {
  const replies = await Promise.all([1, 2, 3, 4].map(() => open({ title: 'At once', severity: 'low' })))
  assert.equal(new Set(replies.map(reply => reply.json().id)).size, 1)
  assert.deepEqual(replies.map(({ statusCode }) => statusCode).toSorted(), [200, 200, 200, 201])
})

test('an unknown component is refused with a list of the known ones', async () => {
  const refused = await open({ title: 'X', severity: 'low', components: ['apis'] })
  assert.equal(refused.statusCode, 400)
  assert.match(refused.json().error.detail, /unknown component "apis"; the components are api/)
  for (const message of ['', ' \n ', 'a\u0000b', 'a\u202Eb'])
    assert.equal((await open({ title: 'X', severity: 'low', message })).statusCode, 400, JSON.stringify(message))
})

test('the list is paginated, newest first, with a filter for open or closed ones', async () => {
  const all = (await as(token, 'GET', '/admin/incidents?limit=2')).json()
  assert.equal(all.items.length, 2)
  const next = (await as(token, 'GET', `/admin/incidents?limit=2&cursor=${all.nextCursor}`)).json()
  assert.ok(next.items[0].openedAt <= all.items[1].openedAt)
  for (const isOpen of [true, false]) {
    const { items } = (await as(token, 'GET', `/admin/incidents?open=${isOpen}`)).json()
    assert.ok(items.length > 0)
    for (const item of items) assert.equal(item.closedAt === null, isOpen)
  }
  const one = await as(token, 'GET', `/admin/incidents/${all.items[0].id}`)
  assert.deepEqual(one.json(), all.items[0])
  assert.equal((await as(token, 'GET', '/admin/incidents/0197a4b2-5d1c-7c3e-9a51-0c4f6e1b2d3a')).statusCode, 404)
})

test('the status is public, even while the platform is closed', async () => {
  await as(token, 'POST', '/admin/maintenance', { enabled: true, message: 'Back at six' })
  const closed = await as(null, 'GET', '/status.json')
  assert.equal(closed.statusCode, 200)
  assert.equal(closed.json().status, 'maintenance')
  assert.equal(closed.json().maintenance.message, 'Back at six')
  const page = await as(null, 'GET', '/status')
  assert.equal(page.statusCode, 200)
  assert.match(page.body, /Back at six/)
  assert.match(page.headers['content-security-policy'] as string, /nonce-/)
  await as(token, 'POST', '/admin/maintenance', { enabled: false })
  assert.equal((await as(null, 'GET', '/status.json')).json().maintenance, null)
})

test('observations of all instances are stored together', async () => {
  await app.status.sync()
  const [api] = (await shown()).components
  assert.equal(api.days.length, 30)
  assert.equal(api.name, 'api')
})
