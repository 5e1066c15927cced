import assert from 'node:assert/strict'
import { readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { openStorage } from '../../integrations/storage/index.ts'
import { identify, isRunning, signalProcess, waitForExit } from '../../plugins/lib/processes.ts'
import { findEmbeddedPostgres } from '../../src/embedded-postgres/index.ts'
import { chainOf, listStreams } from '../../src/workflows/archive/catalogue.ts'
import { archive } from '../../src/workflows/archive/ship.ts'
import { bytesWaiting, readState } from '../../src/workflows/archive/state.ts'
import { FakeS3 } from '../fakes/s3/server.ts'
import { archivedDatabase, bareMachine } from '../support/archived.ts'
import { eventually } from '../support/eventually.ts'

test('commits before a crash are archived after the next start, and recovered with latest', async t => {
  const archived = await archivedDatabase(t)
  await archived.store()
  await archived.sql`insert into teams (name, slug) values ('A', 'a')`
  const data = join(archived.dataDir, 'postgres', 'data')
  const postmaster = identify(Number.parseInt(await readFile(join(data, 'postmaster.pid'), 'utf8'), 10))!
  signalProcess(postmaster, 'SIGKILL')
  await waitForExit(postmaster, 10_000)
  await eventually(
    () => findEmbeddedPostgres(join(archived.dataDir, 'postgres')),
    found => found !== null
  )
  await eventually(() =>
    archived.sql`select 1`.then(
      () => true,
      () => false
    )
  )
  await archived.finishSegment()
  await archived.store()
  assert.equal(isRunning(postmaster), false)

  const machine = await bareMachine(t, archived)
  const restored = await machine.rhone('backup', 'restore', '--to', 'latest')
  assert.equal(restored.code, 0, restored.said)
  assert.equal((await (await machine.open())`select from teams where slug = 'a'`).length, 1)
})

test('an archive that cannot be stored waits within its limit, has a gap beyond it, and starts again', async t => {
  const limit = 40 * 2 ** 20
  const archived = await archivedDatabase(t, { limit })
  const { directory } = archived.settings.storage as { directory: string }
  const first = await archived.store()
  await archived.sql`create table filler (content text)`
  await archived.sql`alter table filler alter content set storage external`
  const fill = () => archived.sql`insert into filler select string_agg(md5(random()::text), '')
    from generate_series(1, 1800) n, generate_series(1, 250) m group by n`
  await rename(directory, `${directory}-away`)
  await writeFile(directory, 'a disk that is not mounted')

  await fill()
  await archived.finishSegment()
  await assert.rejects(archived.store())
  const waiting = await bytesWaiting(archived.settings.directory)
  assert.ok(waiting > 0 && waiting < limit, String(waiting))
  for (let n = 0; n < 3; n++) await fill()
  await archived.finishSegment()
  await archived.store()
  assert.equal(await bytesWaiting(archived.settings.directory), 0)
  await assert.rejects(archived.store())

  await rm(directory)
  await rename(`${directory}-away`, directory)
  const second = await archived.store()
  assert.notEqual(second.stream, first.stream)
  assert.equal(second.broken, null)
  await archived.finishSegment()
  await archived.store()
  const machine = await bareMachine(t, archived)
  const verified = await machine.rhone('backup', 'verify', '--to', 'latest', '--json')
  assert.equal(JSON.parse(verified.out).base, second.base!.id)
})

test('a lost segment starts a new archive instead of leaving a gap', async t => {
  const archived = await archivedDatabase(t)
  const first = await archived.store()
  for (const slug of ['a', 'b']) {
    await archived.sql`insert into teams (name, slug) values (${slug}, ${slug})`
    await archived.finishSegment()
  }
  const wal = join(archived.settings.directory, 'wal')
  await rm(join(wal, first.next!))
  const broken = await archived.store()
  assert.match(broken.broken!.why, new RegExp(`segment ${first.next} was never archived`))
  const next = await archived.store()
  assert.notEqual(next.stream, first.stream)
})

test('segments are stored during the first base backup, and an interrupted one continues in the same stream', async t => {
  const s3 = await new FakeS3().listen()
  t.after(() => s3.close())
  let released = Promise.withResolvers<void>()
  s3.waitsFor = key => (/\/bases\//.test(key) ? released.promise : undefined)
  const { settings, finishSegment, store } = await archivedDatabase(t, {
    storage: { s3: { bucket: s3.bucket, prefix: '', endpoint: s3.url, region: 'eu', ...s3.credentials } }
  })
  const segments = () => [...s3.objects.keys()].filter(key => key.includes('/wal/')).length
  const ending = new AbortController()
  const first = archive(settings, ending.signal)
  await eventually(() => s3.requests.some(request => request.includes('/bases/')))
  for (let n = 0; n < 2; n++) await finishSegment()
  await eventually(() => segments() >= 2)
  await eventually(async () => (await bytesWaiting(settings.directory)) === 0)
  const { stream, base, broken } = await readState(settings.directory)
  assert.deepEqual([base, broken?.why], [null, 'there is no base backup yet'])

  ending.abort()
  released.resolve()
  await assert.rejects(first)
  released = Promise.withResolvers<void>()
  released.resolve()
  await finishSegment()
  const state = await store()
  assert.equal(state.stream, stream)
  assert.equal(state.broken, null)
  const [found] = await listStreams(openStorage(settings.storage)!)
  assert.deepEqual([found!.id, found!.bases.length], [stream, 1])
  assert.equal(chainOf(found!, found!.bases[0]!, null).missing, null)
})
