import assert from 'node:assert/strict'
import { readdir, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { bytesWaiting } from '../../src/workflows/archive/state.ts'
import { type Archived, archivedDatabase, bareMachine } from '../support/archived.ts'

const segmentsIn = async ({ settings }: Archived, stream: string) => {
  const folder = join((settings.storage as { directory: string }).directory, 'archive', stream, 'wal')
  return { folder, files: (await readdir(folder)).sort() }
}

test('a database is recovered to just before a table was dropped, and closed; a missing segment is named first', async t => {
  const archived = await archivedDatabase(t)
  const { sql } = archived
  await sql`insert into users (username, is_admin) values ('ada', true)`
  await archived.store()
  await sql`insert into teams (name, slug) values ('A', 'a')`
  await archived.finishSegment()
  const before = await archived.instant()
  await sql`insert into teams (name, slug) values ('B', 'b')`
  await sql`drop table env_vars cascade`
  await archived.finishSegment()
  await sql`insert into teams (name, slug) values ('C', 'c')`
  await archived.finishSegment()
  const { stream } = await archived.store()
  assert.equal(await bytesWaiting(archived.settings.directory), 0)

  const machine = await bareMachine(t, archived)
  const to = before.toISOString()
  const { folder, files } = await segmentsIn(archived, stream!)
  const gone = files[0]!
  await rename(join(folder, gone), `${folder}-${gone}`)
  for (const command of ['verify', 'restore']) {
    const refused = await machine.rhone('backup', command, '--to', to)
    assert.deepEqual([refused.code, refused.out], [1, ''])
    assert.match(refused.said, new RegExp(`segment ${gone.slice(0, 24)} is missing from the archive`))
  }
  await assert.rejects(readdir(join(machine.DATA_DIR, 'postgres.restoring')), { code: 'ENOENT' })
  await rename(`${folder}-${gone}`, join(folder, gone))

  const verified = await machine.rhone('backup', 'verify', '--to', to)
  assert.equal(verified.code, 0, verified.said)
  const restored = await machine.rhone('backup', 'restore', '--to', to, '--json')
  assert.equal(restored.code, 0, restored.said)
  assert.equal(JSON.parse(restored.out).to, to)
  const audit = await machine.rhone('audit', 'verify')
  assert.equal(audit.code, 0, audit.said)
  const back = await machine.open()
  assert.deepEqual(
    (await back`select slug from teams`).map(({ slug }) => slug),
    ['a']
  )
  assert.equal((await back`select from env_vars`).length, 0)
  const [closed] = await back`select enabled from maintenance_state`
  assert.equal(closed!.enabled, true)
  const [row] = await back`select details from audit_logs where action = 'restore'`
  assert.equal(row!.details.from, to)
  const again = await machine.rhone('backup', 'restore', '--to', to)
  assert.match(again.said, /already contains a database: move it away/)
})
