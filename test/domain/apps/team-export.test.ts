import assert from 'node:assert/strict'
import { test } from 'node:test'
import { teamMembers, users } from '../../../drizzle/schema.ts'
import { parseKeyring } from '../../../src/config/keyring.ts'
import { createApp } from '../../../src/domain/apps/apps.ts'
import { setEnvVar } from '../../../src/domain/apps/env-vars.ts'
import { exportTeam } from '../../../src/domain/apps/team-export.ts'
import { SecretBox } from '../../../src/domain/base/secret-box.ts'
import { keyOf } from '../../support/secret-place.ts'
import { addTeam, openDatabase } from '../support.ts'

test('an export of a team has its members and its apps with their env vars, and nothing of other teams', async t => {
  const db = await openDatabase(t)
  const box = new SecretBox(parseKeyring(keyOf('one')))
  const [team, other] = [await addTeam(db), await addTeam(db)]
  const [user] = await db.insert(users).values({ username: 'ada', email: 'ada@example.com' }).returning()
  await db.insert(teamMembers).values({ teamId: team.id, userId: user!.id, role: 'admin' })
  const site = await createApp(db, team.id, { name: 'Site', githubBranch: 'live' })
  await createApp(db, team.id, { name: 'Empty' })
  const theirs = await createApp(db, other.id, { name: 'Theirs' })
  await setEnvVar(db, box, site.id, 'SECOND', 'two', true)
  await setEnvVar(db, box, site.id, 'FIRST', 'one')
  await setEnvVar(db, box, theirs.id, 'FIRST', 'of others')

  for (const named of [team.id, team.slug]) {
    const { id, members, apps } = await exportTeam(db, box, named)
    assert.equal(id, team.id)
    assert.deepEqual(
      members.filter(({ username }) => username === 'ada'),
      [{ username: 'ada', email: 'ada@example.com', role: 'admin' }]
    )
    assert.deepEqual(
      apps.map(({ slug, branch, env }) => [slug, branch, env]),
      [
        ['empty', 'main', []],
        [
          'site',
          'live',
          [
            { key: 'FIRST', value: 'one', buildTime: false },
            { key: 'SECOND', value: 'two', buildTime: true }
          ]
        ]
      ]
    )
  }
  await assert.rejects(exportTeam(db, box, 'nobody'), { code: 'NOT_FOUND' })
})
