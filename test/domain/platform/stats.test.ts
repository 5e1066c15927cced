import assert from 'node:assert/strict'
import { test } from 'node:test'
import { sql } from 'drizzle-orm'
import { deployments, usageRecords } from '../../../drizzle/schema.ts'
import { createApp } from '../../../src/domain/apps/apps.ts'
import { listRegions } from '../../../src/domain/apps/regions.ts'
import { createErrorJournal } from '../../../src/domain/platform/error-events.ts'
import { platformReadings } from '../../../src/domain/platform/gauges.ts'
import { platformStats } from '../../../src/domain/platform/stats.ts'
import { addTeam, addUser, openDatabase } from '../support.ts'

const NOW = new Date('2026-03-15T12:00:00Z')

test('counts what there is, and what is being built', async t => {
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

test('ranks the ten apps with most machine hours of the billing period, which is the UTC month', async t => {
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

test('errors of several instances add up, and none is lost while the database is away', async t => {
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

test('a number that cannot be read fails the whole, it is not a zero', async t => {
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
