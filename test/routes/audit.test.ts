import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, test } from 'node:test'
import { sql } from 'drizzle-orm'
import { auditLogs } from '../../drizzle/schema.ts'
import { errorOf, platform } from './support.ts'

// Shedding is off: a busy machine refuses exports first.
const server = await platform({ after })
const { team, owner, admin, member, stranger } = await server.addPeople()
const url = `/api/v1/teams/${team.id}/audit`
const { db } = server.app

const row = (over: Partial<typeof auditLogs.$inferInsert>) => ({
  eventType: 'app' as const,
  action: 'create',
  resource: 'app',
  teamId: team.id,
  ...over
})

test('owners and admins of a team can read its audit log, and no other one', async () => {
  await db
    .insert(auditLogs)
    .values([row({ resourceName: 'ours' }), row({ resourceName: 'theirs', teamId: randomUUID() })])
  for (const caller of [owner, admin]) {
    const { items } = (await caller.call('GET', url)).json()
    assert.deepEqual(
      items.map((item: { resourceName: string }) => item.resourceName),
      ['ours']
    )
  }
  assert.equal((await member.call('GET', url)).statusCode, 403)
  assert.equal((await stranger.call('GET', url)).statusCode, 404)
  assert.equal((await owner.call('GET', `${url}?teamId=${randomUUID()}`)).statusCode, 400)
})

test('a team finds rows by actor, action, target, time, address and text', async () => {
  const at = new Date('2026-02-03T04:05:06.789Z')
  const target = randomUUID()
  await db.insert(auditLogs).values(
    row({
      resource: 'domain',
      action: 'verify',
      actor: 'Grace',
      ip: '2001:db8::7',
      resourceId: target,
      resourceName: 'Zebra-Shop',
      details: { domain: 'shop.zebra.example' },
      createdAt: at
    })
  )
  for (const query of [
    'actor=Grace',
    'action=verify',
    'resource=domain',
    `resourceId=${target}`,
    'ip=2001:db8::7',
    'text=zebra',
    'text=zeb%20sho',
    'text=ZEBRA-shop',
    'text=shop.zebra.example',
    'since=2026-02-03T04:05:06.789Z&until=2026-02-03T04:05:06.790Z',
    `actor=Grace&action=verify&text=grace&resourceId=${target}`
  ]) {
    const { items } = (await owner.call('GET', `${url}?${query}`)).json()
    assert.deepEqual(
      items.map((item: { resourceId: string }) => item.resourceId),
      [target],
      query
    )
  }
  for (const query of [
    'text=ebra',
    'text=!!!',
    "text='%20or%201=1",
    'text=%27%3A%2A',
    'actor=grace',
    'text=zebra%20lion'
  ])
    assert.deepEqual((await owner.call('GET', `${url}?${query}`)).json().items, [], query)
  for (const query of ['ip=x', 'ip=', 'text=', 'text=%00', 'action=DROP'])
    assert.equal(errorOf(await owner.call('GET', `${url}?${query}`)).code, 'VALIDATION_ERROR', query)
})

test('every query of the log is served by an index, over many months', async () => {
  // Of the months before that, retention would soon remove some.
  await db.execute(sql`select ensure_audit_partitions((now() - interval '11 months')::date, 12)`)
  await db.transaction(async tx => {
    await tx.execute(sql`set local statement_timeout = 0`)
    await tx.execute(sql`
    insert into audit_logs (event_type, action, resource, resource_id, resource_name, user_id, actor, team_id, app_id, ip, details, created_at)
    select case n % 3 when 0 then 'app' when 1 then 'team' else 'auth' end, 'action_' || n % 40, 'app', gen_random_uuid()::text,
      'thing ' || n, md5((n % 500)::text)::uuid, 'user' || n % 500, md5((n % 200)::text)::uuid, md5((n % 900)::text)::uuid,
      '10.0.' || n % 200 || '.' || n % 250, jsonb_build_object('slug', 'slug-' || n), date_trunc('day', now()) - n * interval '38 minutes'
    from generate_series(1, 12000) n`)
  })
  await db.execute(sql`analyze audit_logs`)
  const homes = await db.execute<{ home: string }>(
    sql`select tableoid::regclass::text as home from audit_logs group by 1 having count(*) > 500`
  )
  const months = homes.map(({ home }) => home)
  assert.ok(months.length >= 8)
  const uuid = (n: number) => sql`md5(${String(n)})::uuid`
  const conditions = {
    none: sql`true`,
    user: sql`user_id = ${uuid(7)}`,
    actor: sql`actor = 'user7'`,
    team: sql`team_id = ${uuid(7)}`,
    'team and action': sql`team_id = ${uuid(7)} and action = 'action_7'`,
    app: sql`app_id = ${uuid(7)}`,
    type: sql`event_type = 'auth'`,
    action: sql`action = 'action_7'`,
    target: sql`resource_id = ${randomUUID()}`,
    address: sql`ip = '10.0.7.7'`,
    text: sql`audit_words(actor, action, resource, resource_name, details) @@ '''11111'':*'::tsquery`,
    'team and text': sql`team_id = ${uuid(7)} and audit_words(actor, action, resource, resource_name, details) @@ '''207'':*'::tsquery`,
    time: sql`created_at >= now() - interval '62 days' and created_at < now() - interval '61 days'`
  }
  for (const [name, condition] of Object.entries(conditions)) {
    const plan = await db.execute<{ 'QUERY PLAN': string }>(
      sql`explain (costs off) select * from audit_logs where ${condition} order by created_at desc, id desc limit 51`
    )
    const lines = plan.map(line => line['QUERY PLAN'])
    const scanned = months.filter(month => lines.some(line => line.includes(`Seq Scan on ${month}`)))
    assert.deepEqual(scanned, [], `${name}:\n${lines.join('\n')}`)
  }
})

test('an operator can export any range as NDJSON or CSV, and the export is audited', async () => {
  const since = new Date(Date.now() - 60 * 86_400_000).toISOString()
  const until = new Date(Date.now() - 40 * 86_400_000).toISOString()
  const range = `since=${since}&until=${until}`
  const exported = (query: string) => server.operator.call('GET', `/admin/audit/export?${query}`)
  const expected = await db.$count(auditLogs, sql`created_at >= ${since} and created_at < ${until}`)
  assert.ok(expected > 600, String(expected))

  const ndjson = await exported(range)
  assert.match(String(ndjson.headers['content-type']), /^application\/x-ndjson/)
  const rows = ndjson.body
    .trimEnd()
    .split('\n')
    .map(line => JSON.parse(line))
  assert.equal(rows.length, expected)
  assert.equal(new Set(rows.map(({ id }) => id)).size, expected)
  const times = rows.map(({ createdAt }) => createdAt)
  assert.deepEqual(times, times.toSorted())

  const csv = await exported(`format=csv&${range}`)
  assert.match(String(csv.headers['content-type']), /^text\/csv/)
  assert.equal(csv.body.split('\r\n').length, expected + 2)
  assert.equal((await exported('since=2031-01-01T00:00:00Z')).body, '')
  assert.equal(
    (await exported(`actor=user7&${range}`)).body.split('\n').length - 1,
    rows.filter(row => row.actor === 'user7').length
  )

  const { items } = (await server.operator.call('GET', '/admin/audit?resource=audit&action=export')).json()
  assert.deepEqual(items.at(-1).details, { format: 'ndjson', from: since, to: until, filters: [] })
  assert.equal((await owner.call('GET', '/admin/audit/export')).statusCode, 403)
})

test('exported CSV cells cannot be formulas', async () => {
  await db
    .insert(auditLogs)
    .values(
      row({ actor: '=1+1', userAgent: '@SUM(A1)', resourceName: 'a "quoted", name', createdAt: new Date('2026-01-01') })
    )
  const { body } = await server.operator.call(
    'GET',
    '/admin/audit/export?format=csv&until=2026-01-02T00:00:00Z&actor=%3D1%2B1'
  )
  assert.match(body, /,'=1\+1,/)
  assert.match(body, /,'@SUM\(A1\),/)
  assert.match(body, /,"a ""quoted"", name",/)
})

test('the age of the oldest unsealed row is a metric', async () => {
  const { body } = await server.as(null, 'GET', '/metrics')
  assert.match(body, /^rhone_audit_unsealed_age_seconds \d/m)
})
