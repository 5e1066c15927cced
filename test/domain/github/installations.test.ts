import assert from 'node:assert/strict'
import { test } from 'node:test'
import { apps, githubInstallations } from '../../../drizzle/schema.ts'
import { changeApp, createApp } from '../../../src/domain/apps/apps.ts'
import { settledSource } from '../../../src/domain/apps/source.ts'
import {
  connectInstallation,
  disconnectInstallation,
  listInstallations
} from '../../../src/domain/github/installations.ts'
import { addTeam, openDatabase } from '../support.ts'

const installation = (id: number, accountLogin = 'acme') => ({
  id,
  accountType: 'Organization' as const,
  accountLogin,
  accountId: 9,
  suspendedAt: null
})

test('of many teams that connect one installation concurrently, exactly one succeeds', async t => {
  const db = await openDatabase(t)
  const teams = await Promise.all(Array.from({ length: 8 }, () => addTeam(db)))
  const tries = await Promise.allSettled(
    teams.map(({ id }) => db.transaction(tx => connectInstallation(tx, id, installation(1))))
  )
  const refused = tries.filter(({ status }) => status === 'rejected') as PromiseRejectedResult[]
  assert.equal(refused.length, 7)
  for (const { reason } of refused) assert.equal(reason.code, 'CONFLICT')
  const [row, ...more] = await db.select().from(githubInstallations)
  assert.equal(more.length, 0)
  assert.equal(row!.teamId, teams[tries.findIndex(({ status }) => status === 'fulfilled')]!.id)
})

test('connecting an installation again updates it', async t => {
  const db = await openDatabase(t)
  const { id } = await addTeam(db)
  const first = await connectInstallation(db, id, { ...installation(1), suspendedAt: new Date() })
  const second = await connectInstallation(db, id, installation(1, 'acme-renamed'))
  assert.deepEqual([second.id, second.accountLogin, second.suspendedAt], [first.id, 'acme-renamed', null])
})

test('installations are listed newest first, page by page, of one team alone', async t => {
  const db = await openDatabase(t)
  const [team, other] = [await addTeam(db), await addTeam(db)]
  for (const id of [1, 2, 3]) await connectInstallation(db, team.id, installation(id))
  await connectInstallation(db, other.id, installation(4))
  const first = await listInstallations(db, team.id, { limit: 2 })
  const second = await listInstallations(db, team.id, { limit: 2, cursor: first.nextCursor! })
  assert.deepEqual(
    [...first.items, ...second.items].map(({ installationId }) => installationId),
    [3, 2, 1]
  )
  assert.equal(second.nextCursor, null)
})

test('an app cannot use an installation that no longer exists', async t => {
  const db = await openDatabase(t)
  const { id: teamId } = await addTeam(db)
  const { id } = await connectInstallation(db, teamId, installation(1))
  const github = {
    installationOf: async () => 1,
    repository: async () => ({ id: 7, fullName: 'acme/website' })
  }
  const setting = { teamId, appId: null, github, allowLocalGit: false }
  const settings = await settledSource(db, { name: 'x', githubRepo: 'Acme/Website' }, setting)
  const app = await createApp(db, teamId, settings)
  assert.equal(app.githubRepo, 'acme/website')
  const [row] = await db.select().from(apps)
  assert.deepEqual([row!.githubRepoId, row!.githubInstallationId], [7, 1])

  await disconnectInstallation(db, teamId, id)
  await connectInstallation(db, (await addTeam(db)).id, installation(1))
  await assert.rejects(createApp(db, teamId, settings), { code: 'CONFLICT' })
  await assert.rejects(changeApp(db, app, settings), { code: 'CONFLICT' })
  await assert.rejects(settledSource(db, settings, setting), { code: 'VALIDATION_ERROR' })
})
