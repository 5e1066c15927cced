import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { openStorage, type Storage } from '../../../integrations/storage/index.ts'
import { chooseBackup, isVerified, listBackups } from '../../../src/workflows/backups/catalogue.ts'
import { FORMAT } from '../../../src/workflows/backups/manifest.ts'
import { pruneBackups } from '../../../src/workflows/backups/retention.ts'
import { FakeS3 } from '../../fakes/s3/server.ts'
import { directoryFor } from '../../support/backups.ts'

const DAY = 86_400_000
const START = Date.parse('2030-01-31T02:00:00Z')
const ONE = Buffer.from('x')
const MARK = { bytes: 1, sha256: '2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881' }

/** What a backup leaves in a storage, without the work. */
async function place(storage: Storage, installation: string, at: number, without: readonly string[] = []) {
  const takenAt = new Date(at).toISOString()
  const id = `${takenAt.replace(/[-:]|\.\d+/g, '')}-${randomUUID().slice(0, 8)}`
  const descriptor = {
    format: FORMAT,
    id,
    installation,
    takenAt,
    finishedAt: takenAt,
    release: '1.2.3',
    migration: null,
    rows: 1,
    data: MARK,
    keys: MARK,
    recipients: [],
    keyIds: { ENCRYPTION_KEYS: [], SIGNING_KEYS: [] },
    checked: 'opened'
  }
  const objects = {
    'begun.json': Buffer.from(JSON.stringify({ installation })),
    'data.tar.zst.age': ONE,
    'keys.json.zst.age': ONE,
    'backup.json': Buffer.from(JSON.stringify(descriptor))
  }
  for (const [name, content] of Object.entries(objects))
    if (!without.includes(name)) await storage.put(`backups/${id}/${name}`, [content])
  return id
}

test('two installations that share a bucket and a prefix prune only their own backups', async t => {
  const s3 = await new FakeS3().listen()
  t.after(() => s3.close())
  const options = { bucket: s3.bucket, prefix: 'shared', endpoint: s3.url, region: 'x', backoff: 1, ...s3.credentials }
  const storage = openStorage({ s3: options })!
  s3.objects.set('shared/backups/notes.txt', Buffer.from('of somebody else'))
  s3.objects.set('shared/backups/20300131T020000Z-1a2b3c4d/notes.txt', Buffer.from('of somebody else'))
  const [mine, theirs] = [randomUUID(), randomUUID()]
  for (let day = 0; day < 10; day++) {
    await place(storage, mine, START - day * DAY)
    // Their clock is a day ahead.
    await place(storage, theirs, START + DAY - day * DAY)
  }
  t.mock.timers.enable({ apis: ['Date'], now: START - DAY })
  const pruned = await pruneBackups(storage, mine, { days: 4, weeks: 0, months: 0 })
  assert.deepEqual([pruned.kept.length, pruned.removed.length], [4, 6])
  await pruneBackups(storage, theirs, { days: 7, weeks: 0, months: 0 })
  const left = await listBackups(storage)
  assert.deepEqual(
    [mine, theirs].map(owner => left.filter(({ installation }) => installation === owner).length),
    [4, 7]
  )
  assert.equal([...s3.objects.keys()].filter(key => key.endsWith('notes.txt')).length, 2)
})

test('the newest of each day, week and month are kept, and at least three', async t => {
  const storage = openStorage({ directory: await directoryFor(t) })!
  const owner = randomUUID()
  for (let hour = 0; hour < 5; hour++) await place(storage, owner, START + hour * 3_600_000)
  const few = await pruneBackups(storage, owner, { days: 1, weeks: 0, months: 0 })
  assert.equal(few.kept.length, 3)
  for (let day = 1; day < 400; day++) await place(storage, owner, START - day * DAY)
  const { kept } = await pruneBackups(storage, owner, { days: 7, weeks: 4, months: 12 })
  const days = new Set(kept.map(id => id.slice(0, 8)))
  assert.deepEqual([...days].sort().reverse(), [
    '20300131',
    '20300130',
    '20300129',
    '20300128',
    '20300127',
    '20300126',
    '20300125',
    '20300120',
    '20300113',
    '20291231',
    '20291130',
    '20291031',
    '20290930',
    '20290831',
    '20290731',
    '20290630',
    '20290531',
    '20290430',
    '20290331',
    '20290228'
  ])
})

test('damaged and unfinished backups do not count, and are removed once a newer one is verified', async t => {
  const storage = openStorage({ directory: await directoryFor(t) })!
  const owner = randomUUID()
  const cut = await place(storage, owner, START - 9 * DAY, ['backup.json', 'keys.json.zst.age'])
  const lost = await place(storage, owner, START - 8 * DAY, ['data.tar.zst.age'])
  assert.deepEqual(
    (await listBackups(storage)).map(({ id, state, problem }) => [id, state, problem]),
    [
      [lost, 'damaged', 'data.tar.zst.age is missing'],
      [cut, 'unfinished', null]
    ]
  )
  assert.throws(() => chooseBackup([], 'latest'), /there is no complete backup here/)
  const keep = { days: 1, weeks: 0, months: 0 }
  assert.deepEqual((await pruneBackups(storage, owner, keep)).removed, [])
  const sound = await place(storage, owner, START)
  const recent = await place(storage, owner, START - DAY, ['backup.json'])
  const { kept, removed } = await pruneBackups(storage, owner, keep)
  assert.deepEqual([kept.toSorted(), removed.toSorted()], [[sound, recent].sort(), [cut, lost].sort()])
  assert.equal((await listBackups(storage)).filter(isVerified).length, 1)
})

test('an interrupted prune leaves no damaged backup', async t => {
  const storage = openStorage({ directory: await directoryFor(t) })!
  const owner = randomUUID()
  for (let day = 0; day < 5; day++) await place(storage, owner, START - day * DAY)
  let removals = 0
  const failing = {
    ...storage,
    async remove(name: string) {
      if (++removals === 2) throw new Error('killed')
      await storage.remove(name)
    }
  }
  await assert.rejects(pruneBackups(failing, owner, { days: 3, weeks: 0, months: 0 }), /killed/)
  const states = (await listBackups(storage)).map(({ state }) => state).sort()
  assert.deepEqual(states, ['unfinished', 'verified', 'verified', 'verified', 'verified'])
})

test('a bucket without permission to delete keeps everything, and this is logged', async t => {
  const s3 = await new FakeS3().listen()
  t.after(() => s3.close())
  const options = { bucket: s3.bucket, prefix: '', endpoint: s3.url, region: 'x', backoff: 1, ...s3.credentials }
  const storage = openStorage({ s3: options })!
  const owner = randomUUID()
  for (let day = 0; day < 5; day++) await place(storage, owner, START - day * DAY)
  s3.locked = true
  await assert.rejects(pruneBackups(storage, owner, { days: 3, weeks: 0, months: 0 }), /was refused: AccessDenied/)
  assert.equal((await listBackups(storage)).filter(isVerified).length, 5)
})

test('with backups of several installations, "latest" requires an id', async t => {
  const storage = openStorage({ directory: await directoryFor(t) })!
  const first = await place(storage, randomUUID(), START)
  await place(storage, randomUUID(), START - DAY)
  const backups = await listBackups(storage)
  assert.throws(() => chooseBackup(backups, 'latest'), /backups of several installations here: name one by its id/)
  assert.equal(chooseBackup(backups, first).id, first)
})
