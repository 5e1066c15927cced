import assert from 'node:assert/strict'
import { execFile, spawnSync } from 'node:child_process'
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { promisify } from 'node:util'
import { openStorage } from '../../integrations/storage/index.ts'
import { isVerified, listBackups } from '../../src/workflows/backups/catalogue.ts'
import { makeIdentity, recipientOf } from '../../src/workflows/backups/sealing.ts'
import { openBackup } from '../../src/workflows/backups/verify.ts'
import { connectTo, directoryFor } from '../support/backups.ts'
import { freshDatabase } from '../support/database.ts'

/* Backups by the command, in a separate process, under conditions that a test cannot create in its own process. */

const CLI = join(import.meta.dirname, '../../src/cli.ts')

async function installation(t: TestContext, more: Record<string, string> = {}) {
  const identity = await makeIdentity()
  const environment: Record<string, string> = {
    DATA_DIR: await directoryFor(t),
    DATABASE_URL: await freshDatabase(t),
    BACKUP_URL: `file://${await directoryFor(t)}`,
    BACKUP_RECIPIENTS: await recipientOf(identity),
    LOG_LEVEL: 'silent',
    ...more
  }
  return { identity, environment, sql: connectTo(t, environment.DATABASE_URL!) }
}

/** `rhone backup create`, started by a shell that can change limits first. */
async function create(environment: Record<string, string>, scene = '') {
  const command = `${scene}\nexec "$@"`
  try {
    const { stdout, stderr } = await promisify(execFile)(
      '/bin/sh',
      ['-c', command, 'sh', process.execPath, CLI, 'backup', 'create', '--json'],
      { env: environment }
    )
    return { code: 0, stdout, stderr }
  } catch (error) {
    return error as { code: number; stdout: string; stderr: string }
  }
}

/** Rows that do not compress, so that they are as large in the backup. */
const fillUp = (sql: ReturnType<typeof connectTo>, megabytes: number) =>
  sql`create table filler as select n, string_agg(md5(random()::text || m), '') as text
    from generate_series(1, ${megabytes * 100}) n, generate_series(1, 312) m group by n`

test('a backup is the same without pg_dump, and with one of version 15 in the path', async t => {
  const { environment, identity } = await installation(t)
  const place = openStorage({ directory: environment.BACKUP_URL!.slice('file://'.length) })!
  const programs = await directoryFor(t)
  const called = join(programs, 'called')
  await mkdir(join(programs, 'bin'))
  for (const name of ['pg_dump', 'pg_restore', 'psql', 'pg_basebackup']) {
    const path = join(programs, 'bin', name)
    await writeFile(path, `#!/bin/sh\necho "${name} (PostgreSQL) 15.14" | tee -a "${called}"\nexit 1\n`)
    await chmod(path, 0o755)
  }
  const without = await create({ ...environment, PATH: '/nowhere' })
  assert.equal(without.code, 0, without.stderr)
  const beside = await create({ ...environment, PATH: `${join(programs, 'bin')}:/usr/bin:/bin` })
  assert.equal(beside.code, 0, beside.stderr)
  await assert.rejects(readFile(called), { code: 'ENOENT' })
  const manifests = await Promise.all(
    (await listBackups(place)).filter(isVerified).map(({ descriptor }) => openBackup(place, descriptor, [identity]))
  )
  assert.equal(manifests.length, 2)
  const contents = manifests.map(({ tables }) =>
    tables.filter(({ name }) => name !== 'installation').map(({ name, sha256 }) => `${name} ${sha256}`)
  )
  assert.deepEqual(contents[0], contents[1])
})

const mayMount = spawnSync('unshare', ['-m', 'mount', '-t', 'tmpfs', 'none', '/mnt']).status === 0

for (const [what, scene, skip] of [
  ['a limit on the size of files', 'trap "" XFSZ; ulimit -f 3000', false],
  [
    'a full disk',
    'if [ -z "$IN" ]; then IN=1 exec unshare -m sh -c \'mount -t tmpfs -o size=3m none "$PLACE" && cp -a "$KEPT"/. "$PLACE"; "$@"; code=$?; cp -a "$PLACE"/. "$KEPT"; exit $code\' sh "$@"; fi',
    mayMount ? false : 'this user may not mount a small disk'
  ]
] as const)
  test(`${what} midway ends a backup without a trace, and the previous one stays intact`, {
    skip
  }, async t => {
    const { environment, identity, sql } = await installation(t)
    const [KEPT, PLACE] = [await directoryFor(t), await directoryFor(t)]
    const scenery = { ...environment, BACKUP_URL: `file://${skip === false && what === 'a full disk' ? PLACE : KEPT}` }
    const small = await create({ ...scenery, KEPT, PLACE, PATH: process.env.PATH! }, scene)
    assert.equal(small.code, 0, small.stderr)
    await fillUp(sql, 12)
    const full = await create({ ...scenery, KEPT, PLACE, PATH: process.env.PATH! }, scene)
    assert.equal(full.code, 1, full.stdout)
    assert.match(full.stderr, /the disk is full|file too large/)
    const place = openStorage({ directory: KEPT })!
    const left = await listBackups(place)
    assert.deepEqual(
      left.filter(isVerified).map(({ id }) => id),
      [JSON.parse(small.stdout).id]
    )
    for (const { descriptor } of left.filter(isVerified)) await openBackup(place, descriptor, [identity])
    const names = (await place.list('')).map(({ name }) => name)
    assert.deepEqual(
      names.filter(name => name.endsWith('data.tar.zst.age')).length,
      1,
      'nothing is under the name of the failed one'
    )
  })
