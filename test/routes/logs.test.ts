import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, test } from 'node:test'
import { and, eq } from 'drizzle-orm'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { apiTokens, type DeploymentStatus, deployments, teamMembers } from '../../drizzle/schema.ts'
import eventStreams, { type ServerEvent } from '../../plugins/event-streams/index.ts'
import { logStreams } from '../../routes/lib/log-streams.ts'
import { insertAppLogs, type NewAppLog } from '../../src/domain/apps/logs.ts'
import { createBuildLog } from '../../src/domain/deployments/build-logs.ts'
import { EventReader } from '../support/event-reader.ts'
import { eventually } from '../support/eventually.ts'
import { type Caller, errorOf, platform } from './support.ts'

const impatient = { heartbeat: 100, recheckInterval: 100, maxPerOwner: 4 }
const server = await platform(
  { after },
  {
    'event-streams': fp(async (app: FastifyInstance) => void (await app.register(eventStreams, impatient))),
    // These deployments have no jobs; no worker may take them up as if their jobs were lost.
    jobs: false
  }
)
const { db } = server.app
const origin = await server.app.listen({ host: '127.0.0.1', port: 0 })
const { team, owner, admin, member, stranger } = await server.addPeople()
const app = (await owner.call('POST', '/api/v1/apps', { name: 'talkative', team: team.slug })).json()
const elsewhere = (await stranger.call('POST', '/api/v1/apps', { name: 'elsewhere' })).json()

const readers: EventReader[] = []
after(() => readers.forEach(reader => void reader.close()))

async function read(caller: Caller, path: string, headers: Record<string, string> = {}): Promise<EventReader> {
  const reader = await EventReader.open(`${origin}${path}`, { authorization: `Bearer ${caller.token}`, ...headers })
  readers.push(reader)
  return reader
}

async function addDeployment(status: DeploymentStatus = 'building'): Promise<string> {
  const [row] = await db.insert(deployments).values({ appId: app.id, status }).returning({ id: deployments.id })
  return row!.id
}

const setStatus = (id: string, status: DeploymentStatus) =>
  db.update(deployments).set({ status }).where(eq(deployments.id, id))
const logOf = (id: string) => `/api/v1/apps/${app.slug}/deployments/${id}/logs`
const live = `/api/v1/apps/${app.slug}/logs/live`

const line = (message: string, more: Partial<NewAppLog> = {}): NewAppLog => ({
  appId: app.id,
  deploymentId: null,
  at: new Date(),
  level: 'info',
  source: 'app',
  region: 'iad',
  instance: 'i1',
  message,
  ...more
})

test('a build log is streamed while the build runs, through all plugins', async () => {
  const id = await addDeployment('cloning')
  const log = createBuildLog(db, id, { phase: 'cloning' })
  log.say('before\n')
  await log.close()

  const reader = await read(member, logOf(id))
  assert.equal(reader.status, 200)
  assert.match(String(reader.headers['content-type']), /^text\/event-stream/)
  assert.equal(reader.headers['cache-control'], 'no-store')
  assert.equal(reader.headers['x-accel-buffering'], 'no')
  assert.ok(reader.headers['x-request-id'])
  assert.equal(reader.headers['x-content-type-options'], 'nosniff')
  assert.match(String(reader.headers['content-security-policy']), /default-src 'none'/)
  assert.equal(JSON.parse((await reader.named('log')).data).text, 'before\n')

  await setStatus(id, 'building')
  const more = createBuildLog(db, id, { phase: 'building' })
  more.say('during\r\ndata: {"admin":true}\n\n<script>alert(1)</script>\n')
  const { data } = await reader.until(event => event.data.includes('during'))
  assert.deepEqual(JSON.parse(data).phase, 'building')
  assert.equal(reader.events.filter(event => event.data.includes('admin')).length, 1, 'text opens no event of its own')
  await reader.until(() => reader.text.includes('\n:\n'))

  await setStatus(id, 'build_failed')
  more.say('the last words\n')
  await more.close()
  const complete = await reader.named('complete')
  assert.deepEqual(JSON.parse(complete.data), { status: 'build_failed' })
  await reader.end()
  assert.equal(reader.isComplete, true)
  const statuses = reader.events.filter(({ event }) => event === 'status').map(event => JSON.parse(event.data).status)
  assert.deepEqual(statuses, ['cloning', 'building', 'build_failed'])
  assert.ok(reader.events.some(event => event.data.includes('the last words')))
})

test('streams are counted, but not in latency histograms', async () => {
  const metrics = await server.app.metrics.registry.metrics()
  const path = 'path="/api/v1/apps/:app/deployments/:id/logs"'
  assert.match(metrics, new RegExp(`rhone_http_requests_total\\{method="GET",${path},status="200"\\} \\d`))
  assert.ok(!metrics.split('\n').some(line => line.includes('duration_seconds') && line.includes(path)))
})

test('a reader who reconnects continues after the last line, and is told immediately what has ended', async () => {
  const id = await addDeployment()
  for (const text of ['one\n', 'two\n', 'three\n']) {
    const log = createBuildLog(db, id)
    log.say(text)
    await log.close()
  }
  await setStatus(id, 'live')
  const texts = (reader: EventReader) =>
    reader.events.filter(({ event }) => event === 'log').map(event => [event.id, JSON.parse(event.data).text])
  for (const [path, headers, expected] of [
    [logOf(id), { 'last-event-id': '2' }, [['3', 'three\n']]],
    [
      `${logOf(id)}?after=1`,
      {},
      [
        ['2', 'two\n'],
        ['3', 'three\n']
      ]
    ],
    [logOf(id), { 'last-event-id': '3' }, []],
    [logOf(id), { 'last-event-id': '999999999999999' }, []]
  ] as const) {
    const reader = await read(owner, path, headers)
    await reader.named('complete')
    await reader.end()
    assert.deepEqual(texts(reader), expected, path)
  }
})

test('a reader of the build log is told of the cancellation when the app is deleted', async () => {
  const doomed = (await owner.call('POST', '/api/v1/apps', { name: 'doomed', team: team.slug })).json()
  const [row] = await db.insert(deployments).values({ appId: doomed.id, status: 'building' }).returning()
  const heard: ServerEvent[] = []
  const begun = Promise.withResolvers<void>()
  const sink = {
    send: async (event: ServerEvent) => {
      heard.push(event)
      begun.resolve()
    },
    offer: () => assert.fail('what is said of a deployment must not be missed')
  }
  const following = logStreams(server.app).ofDeployment(doomed.id, row!.id, 0)(sink, AbortSignal.timeout(20_000))
  await begun.promise
  assert.equal((await owner.call('DELETE', '/api/v1/apps/doomed')).statusCode, 204)
  await following
  assert.deepEqual(heard, [
    { event: 'status', data: { status: 'building' } },
    { event: 'status', data: { status: 'cancelled' } },
    { event: 'complete', data: { status: 'cancelled' } }
  ])
})

test('a build log is also available in pages and as text', async () => {
  const id = await addDeployment()
  for (const text of ['one\n', 'two\n', 'three\n']) {
    const log = createBuildLog(db, id)
    log.say(text)
    await log.close()
  }
  const json = { accept: 'application/json' }
  const first = await member.call('GET', `${logOf(id)}?limit=2`, undefined, json)
  assert.equal(first.headers['content-type'], 'application/json; charset=utf-8')
  const { items, nextCursor } = first.json()
  assert.deepEqual(Object.keys(items[0]), ['seq', 'phase', 'text', 'at'])
  const second = (await member.call('GET', `${logOf(id)}?limit=2&cursor=${nextCursor}`, undefined, json)).json()
  assert.deepEqual(
    [...items, ...second.items].map(({ text }) => text),
    ['one\n', 'two\n', 'three\n']
  )
  assert.equal(second.nextCursor, null)
  assert.deepEqual((await member.call('GET', `${logOf(id)}?after=2`, undefined, json)).json().items[0].seq, 3)

  const text = await member.call('GET', logOf(id), undefined, { accept: 'text/plain' })
  assert.deepEqual([text.body, text.headers['content-type']], ['one\ntwo\nthree\n', 'text/plain; charset=utf-8'])
  for (const query of ['limit=1001', 'limit=0', 'after=-1', 'after=x', 'cursor=AAAA', 'nonsense=1'])
    assert.equal(errorOf(await member.call('GET', `${logOf(id)}?${query}`, undefined, json)).status, 400, query)
})

test('a build log of another team cannot be read by its id', async () => {
  const id = await addDeployment()
  for (const [caller, path] of [
    [stranger, logOf(id)],
    [stranger, `/api/v1/apps/${elsewhere.id}/deployments/${id}/logs`],
    [stranger, live],
    [owner, `/api/v1/apps/${app.id}/deployments/${randomUUID()}/logs`]
  ] as const)
    for (const accept of ['text/event-stream', 'application/json', 'text/plain'])
      assert.deepEqual(
        await caller.call('GET', path, undefined, { accept }).then(reply => errorOf(reply).status),
        404,
        path
      )
  for (const path of ['logs', 'metrics', 'logs/live'])
    assert.equal(errorOf(await stranger.call('GET', `/api/v1/apps/${app.id}/${path}`)).status, 404)
})

test('the log of an app is streamed live, and resumes where the reader stopped', async () => {
  await insertAppLogs(db, [line('before')])
  const reader = await read(member, live)
  const connected = await reader.named('connected')
  assert.deepEqual(JSON.parse(connected.data), { appId: app.id })
  await insertAppLogs(db, [line('one', { level: 'error' }), line('two\r\n\r\nevent: admin\r\rid: 5')])
  const first = await reader.named('log')
  const { id, timestamp, ...told } = JSON.parse(first.data)
  assert.deepEqual(told, {
    level: 'error',
    message: 'one',
    source: 'app',
    region: 'iad',
    instance: 'i1',
    deploymentId: null
  })
  assert.equal(first.id, String(id))
  assert.ok(timestamp)
  await reader.until(event => event.data.includes('two'))
  assert.ok(!reader.events.some(({ event }) => event === 'admin'))
  reader.close()

  await insertAppLogs(db, [line('meanwhile')])
  const again = await read(member, live, { 'last-event-id': first.id })
  await again.until(event => event.data.includes('meanwhile'))
  const messages = again.events.filter(({ event }) => event === 'log').map(event => JSON.parse(event.data).message)
  assert.deepEqual(messages, ['two\n\nevent: admin\n\nid: 5', 'meanwhile'])
  again.close()

  const fromTheStart = await read(member, live, { 'last-event-id': connected.id })
  await fromTheStart.until(event => event.data.includes('meanwhile'))
  assert.equal(JSON.parse((await fromTheStart.named('log')).data).message, 'one')
  fromTheStart.close()
})

test('many lines at once reach a fast reader completely and in order', async () => {
  const reader = await read(owner, live)
  await reader.named('connected')
  for (let batch = 0; batch < 4; batch++)
    await insertAppLogs(
      db,
      Array.from({ length: 250 }, (_, i) => line(`flood ${batch * 250 + i}`))
    )
  await reader.until(event => event.data.includes('"flood 999"'))
  const told = reader.events.filter(event => event.data.includes('flood')).map(event => JSON.parse(event.data).message)
  assert.deepEqual(
    told,
    Array.from({ length: 1_000 }, (_, i) => `flood ${i}`)
  )
  reader.close()
})

test('the log of an app is searched by time, level and text, in pages', async () => {
  const at = (second: number) => new Date(Date.UTC(2031, 0, 1, 0, 0, second))
  await insertAppLogs(db, [
    line('alpha', { at: at(1) }),
    line('beta 100%', { at: at(2), level: 'warn' }),
    line('gamma', { at: at(3) })
  ])
  const search = async (query: string) => (await member.call('GET', `/api/v1/apps/${app.id}/logs?${query}`)).json()
  const since = 'since=2031-01-01T00:00:00Z'
  const all = await search(since)
  assert.deepEqual(
    all.items.map(({ message }: { message: string }) => message),
    ['gamma', 'beta 100%', 'alpha']
  )
  assert.deepEqual(Object.keys(all.items[0]), [
    'id',
    'deploymentId',
    'at',
    'level',
    'source',
    'region',
    'instance',
    'message'
  ])
  assert.equal((await search(`${since}&level=warn`)).items.length, 1)
  assert.equal((await search(`${since}&until=2031-01-01T00:00:03Z`)).items.length, 2)
  assert.equal((await search(`${since}&search=100%25`)).items[0].message, 'beta 100%')
  const page = await search(`${since}&limit=1`)
  assert.equal((await search(`${since}&limit=1&cursor=${page.nextCursor}`)).items[0].message, 'beta 100%')
  assert.ok((await search('limit=1000')).items.length > 200)
  for (const query of [
    'limit=1001',
    'level=loud',
    'since=yesterday',
    'since=2031-02-30T99:00:00Z',
    'search=',
    'cursor=!'
  ])
    assert.equal((await search(query)).error.code, 'VALIDATION_ERROR', query)
})

test('the streams per user are limited, and a 429 has Retry-After', async () => {
  const open = await Promise.all([1, 2, 3, 4].map(() => read(admin, live)))
  const refused = await read(admin, live)
  assert.equal(refused.status, 429)
  assert.equal(refused.headers['retry-after'], '5')
  for (const reader of open) {
    assert.equal(reader.status, 200)
    reader.close()
  }
})

test('a stream ends when its token is revoked, and when its reader leaves the team', async () => {
  const former = await server.addCaller()
  await db.insert(teamMembers).values({ teamId: team.id, userId: former.id, role: 'member' })
  const reader = await read(former, live)
  await reader.named('connected')
  await db.delete(teamMembers).where(and(eq(teamMembers.teamId, team.id), eq(teamMembers.userId, former.id)))
  await reader.end()
  assert.equal(reader.isComplete, false)
  assert.equal((await read(former, live)).status, 404)

  await db.insert(teamMembers).values({ teamId: team.id, userId: former.id, role: 'member' })
  const next = await read(former, live)
  await next.named('connected')
  await db.update(apiTokens).set({ revokedAt: new Date() }).where(eq(apiTokens.userId, former.id))
  await next.end(15_000)
  assert.equal((await read(former, live)).status, 401)
})

test('HEAD returns the headers without opening a stream', async () => {
  const reply = await member.call('HEAD', live)
  assert.equal(reply.statusCode, 200)
  assert.match(String(reply.headers['content-type']), /^text\/event-stream/)
  await eventually(
    async () => server.app.eventStreams.open,
    open => open === 0
  )
})

test('a drain ends the streams first, and notifies their readers', async () => {
  const reader = await read(owner, live)
  await reader.named('connected')
  await server.app.close()
  await reader.end()
  assert.equal(reader.isComplete, true)
  assert.equal(reader.events.at(-1)!.event, 'disconnected')
})
