import assert from 'node:assert/strict'
import { test } from 'node:test'
import { sql } from 'drizzle-orm'
import { deployments, usageRecords } from '../../../drizzle/schema.ts'
import { createApp } from '../../../src/domain/apps/apps.ts'
import { listRegions } from '../../../src/domain/apps/regions.ts'
import { createErrorJournal, type ErrorFilters, listErrors } from '../../../src/domain/platform/error-events.ts'
import { platformReadings } from '../../../src/domain/platform/gauges.ts'
import { platformStats } from '../../../src/domain/platform/stats.ts'
import { addTeam, addUser, openDatabase } from '../support.ts'

const NOW = new Date('2026-03-15T12:00:00Z')

test('counts all resources and running builds', async t => {
  const db = await openDatabase(t)
  const team = await addTeam(db, { [await addUser(db)]: 'owner', [await addUser(db)]: 'member' })
  const app = await createApp(db, team.id, { name: 'x' })
  const statuses = ['pending', 'cloning', 'analyzing', 'building', 'pushing', 'built', 'deploying'] as const
  const ends = ['live', 'build_failed', 'deploy_failed', 'cancelled', 'superseded'] as const
  await db.insert(deployments).values([...statuses, ...ends].map(status => ({ appId: app.id, status })))

  const { totals, activeBuilds } = await platformStats(db, NOW)
  assert.deepEqual(totals, { users: 2, teams: 1, apps: 1, deployments: 12 })
  assert.equal(activeBuilds, statuses.length)
  const readings = platformReadings(() => db).map(async ({ name, read }) => [name, await read()])
  assert.deepEqual(Object.fromEntries(await Promise.all(readings)), { rhone_active_apps: 1, rhone_active_teams: 1 })
})

test('ranks the ten apps with the most machine hours of the UTC month', async t => {
  const db = await openDatabase(t)
  const team = await addTeam(db, {}, 'acme')
  const usage = (appId: string, quantity: string, billingPeriod = '2026-03-01', metric = 'machine_hours' as const) =>
    db.insert(usageRecords).values({ teamId: team.id, appId, metric, quantity, billingPeriod })
  for (let i = 0; i < 12; i++) {
    const app = await createApp(db, team.id, { name: `app ${i}` })
    await usage(app.id, `${i}.5`)
    await usage(app.id, '1')
    await usage(app.id, `${1000 - i}`, '2026-02-01')
    if (i === 11) await db.insert(deployments).values([{ appId: app.id }, { appId: app.id }])
  }

  const { topApps, billingPeriod } = await platformStats(db, NOW)
  assert.equal(billingPeriod, '2026-03-01')
  assert.equal(topApps.length, 10)
  const { appId, ...first } = topApps[0]!
  assert.deepEqual(first, { appName: 'app 11', teamName: 'Team acme', machineHours: 12.5, deployments: 2 })
  assert.deepEqual(
    topApps.map(app => app.machineHours),
    [12.5, 11.5, 10.5, 9.5, 8.5, 7.5, 6.5, 5.5, 4.5, 3.5]
  )
})

test('the use of apps without measurements is unknown, not zero, and they come last, the most deployed first', async t => {
  const db = await openDatabase(t)
  const team = await addTeam(db, {}, 'acme')
  const [quiet, busy, metered] = [
    await createApp(db, team.id, { name: 'quiet' }),
    await createApp(db, team.id, { name: 'busy' }),
    await createApp(db, team.id, { name: 'metered' })
  ]
  await db.insert(deployments).values([
    { appId: busy.id, createdAt: NOW },
    { appId: quiet.id, createdAt: new Date('2026-02-27T00:00:00Z') },
    { appId: quiet.id, createdAt: new Date('2026-02-28T00:00:00Z') }
  ])
  const usage = { teamId: team.id, metric: 'machine_hours', billingPeriod: '2026-03-01' } as const
  await db.insert(usageRecords).values({ ...usage, appId: metered.id, quantity: '0' })

  const { topApps } = await platformStats(db, NOW)
  assert.deepEqual(
    topApps.map(({ appName, machineHours }) => [appName, machineHours]),
    [
      ['metered', 0],
      ['busy', null],
      ['quiet', null]
    ]
  )
})

test('lists errors by hour, code and route, the latest hour first, filtered and page by page', async t => {
  const db = await openDatabase(t)
  let now = NOW.getTime() - 2 * 3_600_000
  const log = createErrorJournal(db, () => now)
  for (const route of ['GET /a/:b', 'POST /c']) log.note({ code: 'INTERNAL_ERROR', route, requestId: 'r1' })
  await log.flush()
  now = NOW.getTime() + 1_000
  for (const requestId of ['r2', 'r3']) log.note({ code: 'INTERNAL_ERROR', route: 'GET /a/:b', requestId })
  log.note({ code: 'SERVICE_UNAVAILABLE', route: 'GET /a/:b', requestId: 'r4' })
  await log.flush()

  const all = (await listErrors(db, {}, {})).items
  assert.deepEqual(
    all.map(({ hour, code, route, count, lastRequestId }) => [hour.getUTCHours(), code, route, count, lastRequestId]),
    [
      [12, 'INTERNAL_ERROR', 'GET /a/:b', 2, 'r3'],
      [12, 'SERVICE_UNAVAILABLE', 'GET /a/:b', 1, 'r4'],
      [10, 'INTERNAL_ERROR', 'GET /a/:b', 1, 'r1'],
      [10, 'INTERNAL_ERROR', 'POST /c', 1, 'r1']
    ]
  )
  const paged: typeof all = []
  let cursor: string | undefined
  do {
    const page = await listErrors(db, {}, { limit: 1, ...(cursor !== undefined && { cursor }) })
    paged.push(...page.items)
    cursor = page.nextCursor ?? undefined
  } while (cursor !== undefined)
  assert.deepEqual(paged, all)

  const found = async (filters: ErrorFilters) => (await listErrors(db, filters, {})).items.length
  assert.equal(await found({ code: 'SERVICE_UNAVAILABLE' }), 1)
  assert.equal(await found({ route: 'POST /c' }), 1)
  assert.equal(await found({ since: new Date(NOW.getTime() + 60_000) }), 2, 'from the hour of that instant on')
  assert.equal(await found({ until: NOW }), 2)
})

test('shows the errors of the last day by code, the latest first', async t => {
  const db = await openDatabase(t)
  let now = NOW.getTime() - 30 * 3_600_000
  const log = createErrorJournal(db, () => now)
  log.note({ code: 'INTERNAL_ERROR', route: '/old', requestId: 'r0' })
  await log.flush()

  now = NOW.getTime() - 3_600_000
  log.note({ code: 'INTERNAL_ERROR', route: '/a', requestId: 'r1' })
  log.note({ code: 'INTERNAL_ERROR', route: '/a', requestId: 'r2' })
  log.note({ code: 'INTERNAL_ERROR', route: '/b', requestId: 'r3' })
  await log.flush()
  now = NOW.getTime()
  log.note({ code: 'SERVICE_UNAVAILABLE', route: '/a', requestId: 'r4' })
  await log.flush()
  await log.flush()

  const { recentErrors } = await platformStats(db, NOW)
  assert.deepEqual(recentErrors, [
    { code: 'SERVICE_UNAVAILABLE', count: 1, last: NOW },
    { code: 'INTERNAL_ERROR', count: 3, last: new Date(NOW.getTime() - 3_600_000) }
  ])
})

test('errors of several instances add up, and none is lost while the database is down', async t => {
  const db = await openDatabase(t)
  const [one, other] = [createErrorJournal(db, () => NOW.getTime()), createErrorJournal(db, () => NOW.getTime())]
  for (const log of [one, other]) log.note({ code: 'INTERNAL_ERROR', route: '/a', requestId: 'r' })
  await db.execute(sql`alter table error_events rename to away`)
  await assert.rejects(one.flush())
  one.note({ code: 'INTERNAL_ERROR', route: '/a', requestId: 'r' })
  await db.execute(sql`alter table away rename to error_events`)

  await Promise.all([one.flush(), other.flush()])
  const { recentErrors } = await platformStats(db, NOW)
  assert.equal(recentErrors[0]?.count, 3)
})

test('an unreadable figure fails the whole request instead of being zero', async t => {
  for (const table of ['users', 'usage_records', 'error_events']) {
    const db = await openDatabase(t)
    await db.execute(sql`drop table ${sql.identifier(table)} cascade`)
    await assert.rejects(platformStats(db, NOW), table)
  }
})

test('knows 28 regions, those of one continent together, with numbers for coordinates', async t => {
  const db = await openDatabase(t)
  const regions = await listRegions(db)
  assert.equal(regions.length, 28)
  const continents = regions.map(region => region.continent)
  assert.deepEqual(continents, continents.toSorted())
  for (const { latitude, longitude } of regions) assert.ok(Math.abs(latitude) <= 90 && Math.abs(longitude) <= 180)
})
