import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { openStorage } from '../../../integrations/storage/index.ts'
import { createBackup } from '../../../src/workflows/backups/create.ts'
import { openBackup, openKeys } from '../../../src/workflows/backups/verify.ts'
import { FakeS3 } from '../../fakes/s3/server.ts'
import { backupSettings, connectTo, directoryFor } from '../../support/backups.ts'

const MIB = 1024 * 1024

test('a backup is a snapshot of all tables, including new ones without a code change', async t => {
  const settings = await backupSettings(t)
  const sql = connectTo(t, settings.databaseUrl)
  await sql`create table added_later (id bigint generated always as identity primary key, text text,
    twice text generated always as (text || text) stored)`
  await sql`insert into added_later (text) select 'tab\t newline\n back\\slash ü ' || n from generate_series(1, 1000) n`
  const backup = await createBackup(settings)
  assert.equal(backup.checked, 'opened')
  const storage = openStorage(settings.storage)!
  const manifest = await openBackup(storage, backup, settings.identities)
  const added = manifest.tables.find(({ name }) => name === 'added_later')!
  assert.deepEqual(added.columns, ['id', 'text'])
  assert.equal(added.rows, 1000)
  assert.ok(manifest.tables.some(({ schema, name }) => schema === 'pgboss' && name === 'job'))
  assert.ok(manifest.jobs! > 0)
  assert.deepEqual((await openKeys(storage, backup, settings.identities)).keyrings, settings.keyrings)
})

test('age, zstd and tar can open a backup', async t => {
  const settings = await backupSettings(t)
  const sql = connectTo(t, settings.databaseUrl)
  const backup = await createBackup(settings)
  const directory = await directoryFor(t)
  await writeFile(join(directory, 'identity'), settings.identities[0]!)
  const data = join((settings.storage as { directory: string }).directory, 'backups', backup.id, 'data.tar.zst.age')
  const command = `age -d -i identity "$1" | zstd -dc | tar x`
  await promisify(execFile)('sh', ['-c', command, 'sh', data], { cwd: directory })
  const [{ copy } = { copy: '' }] = await sql<
    { copy: string }[]
  >`select string_agg(code, ',' order by code) as copy from regions`
  const rows = await readFile(join(directory, 'tables/public.regions/000001'), 'utf8')
  assert.deepEqual(
    rows
      .trim()
      .split('\n')
      .map(row => row.split('\t')[0])
      .sort(),
    copy!.split(',')
  )
  assert.ok((await stat(join(directory, 'manifest.json'))).size > 0)
})

test('flipped, truncated, missing and swapped data is detected and named', async t => {
  const settings = await backupSettings(t)
  const backup = await createBackup(settings)
  const { directory } = settings.storage as { directory: string }
  const storage = openStorage(settings.storage)!
  const path = join(directory, 'backups', backup.id, 'data.tar.zst.age')
  const good = await readFile(path)
  const flipped = Buffer.from(good)
  flipped[good.length >> 1]! ^= 1
  for (const bad of [
    flipped,
    good.subarray(0, -1),
    good.subarray(0, 100),
    Buffer.alloc(0),
    Buffer.concat([good, good])
  ]) {
    await writeFile(path, bad)
    await assert.rejects(openBackup(storage, backup, settings.identities), /data\.tar\.zst\.age/)
  }
  await writeFile(path, good)
  await openBackup(storage, backup, settings.identities)
  const other = await createBackup(settings)
  const exchanged = { ...backup, data: other.data }
  await writeFile(path, await readFile(join(directory, 'backups', other.id, 'data.tar.zst.age')))
  await assert.rejects(openBackup(storage, exchanged, settings.identities), new RegExp(`data of backup ${other.id}`))
})

test('a storage that fails midway, or stores less than it reports, leaves no backup and no parts', async t => {
  const s3 = await new FakeS3().listen()
  t.after(() => s3.close())
  const s3Settings = { bucket: s3.bucket, prefix: '', endpoint: s3.url, region: 'x', partSize: 5 * MIB, backoff: 1 }
  const settings = await backupSettings(t, { storage: { s3: { ...s3Settings, ...s3.credentials } } })
  const sql = connectTo(t, settings.databaseUrl)
  await sql`create table large as select encode(sha512(n::text::bytea), 'hex') as text from generate_series(1, 100000) n`
  for (let i = 0; i < 4; i++) s3.faults.push({ matches: ({ query }) => query.get('partNumber') === '2', does: 500 })
  await assert.rejects(createBackup(settings), /500|InternalError/)
  assert.deepEqual([s3.objects.size, s3.uploads.size], [0, 0])
  s3.faults.push({ matches: ({ method, query }) => method === 'POST' && query.has('uploadId'), does: 'truncate' })
  await assert.rejects(createBackup({ ...settings, identities: [] }), /bytes, and \d+ were written/)
  assert.deepEqual([s3.objects.size, s3.uploads.size], [0, 0])
  await createBackup(settings)
  assert.equal([...s3.objects.keys()].filter(key => key.endsWith('backup.json')).length, 1)
})

test('a database that fails midway leaves no backup', async t => {
  const settings = await backupSettings(t)
  await assert.rejects(createBackup(settings, AbortSignal.abort()))
  const { directory } = settings.storage as { directory: string }
  const left = await readdir(directory, { recursive: true }).catch(() => [])
  assert.deepEqual(
    left.filter(name => name.endsWith('.json')),
    []
  )
})
