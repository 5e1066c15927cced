import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdtemp, readdir, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import Fastify from 'fastify'
import { S3mini } from 's3mini'
import storagePlugin, { openStorage, type Storage, StorageError } from '../../integrations/storage/index.ts'
import { FakeS3 } from '../fakes/s3/server.ts'

const MIB = 1024 * 1024

async function folder(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'rhone-storage-'))
  t.after(() => rm(directory, { recursive: true, force: true }))
  return directory
}

async function fakeS3(t: TestContext): Promise<FakeS3> {
  const s3 = await new FakeS3().listen()
  t.after(() => s3.close())
  return s3
}

const bucketOf = (s3: FakeS3, changes: object = {}): Storage =>
  openStorage({
    s3: {
      bucket: s3.bucket,
      prefix: 'rhone/one',
      endpoint: s3.url,
      region: 'eu-west-1',
      partSize: 5 * MIB,
      backoff: 1,
      ...s3.credentials,
      ...changes
    }
  })!

const bytesOf = async (storage: Storage, name: string) =>
  Buffer.concat((await Array.fromAsync(await storage.get(name))) as Buffer[])

const failsAs = (failure: string) => (error: unknown) => error instanceof StorageError && error.failure === failure

const kinds: Record<string, (t: TestContext) => Promise<Storage>> = {
  'a folder': async t => openStorage({ directory: join(await folder(t), 'made', 'when needed') })!,
  'a bucket': async t => bucketOf(await fakeS3(t))
}

for (const [kind, make] of Object.entries(kinds)) {
  test(`${kind} returns what was stored, and writes each name once`, async t => {
    const storage = await make(t)
    const content = randomBytes(11 * MIB)
    const stored = await storage.put('a/b.bin', [content.subarray(0, 7), content.subarray(7)])
    assert.equal(stored.bytes, content.length)
    assert.ok((await bytesOf(storage, 'a/b.bin')).equals(content))
    await storage.put('a/empty', [])
    assert.deepEqual(await storage.list('a/'), [
      { name: 'a/b.bin', bytes: content.length },
      { name: 'a/empty', bytes: 0 }
    ])
    await assert.rejects(storage.put('a/b.bin', [Buffer.from('other')]), failsAs('exists'))
    assert.equal((await bytesOf(storage, 'a/b.bin')).length, content.length)
    await storage.remove('a/b.bin')
    await storage.remove('a/b.bin')
    await assert.rejects(storage.get('a/b.bin'), failsAs('missing'))
    assert.deepEqual(await storage.list('b/'), [])
  })

  test(`${kind} keeps nothing of interrupted content`, async t => {
    const storage = await make(t)
    async function* breaks() {
      yield Buffer.alloc(12 * MIB)
      throw new Error('the source is gone')
    }
    await assert.rejects(storage.put('a/b', breaks()), /the source is gone/)
    assert.deepEqual(await storage.list(''), [])
  })

  test(`${kind} refuses names that point outside`, async t => {
    const storage = await make(t)
    for (const name of ['../x', 'a/../../x', '/etc/x', '', 'a//b', 'a/.', 'ä', 'a\0b'])
      await assert.rejects(storage.put(name, []), /is not a valid object name/, name)
  })
}

test('a folder removes remains of a crash after a day, and never lists them', async t => {
  const directory = await folder(t)
  const storage = openStorage({ directory })!
  const name = (id: string) => join(directory, `x.partial-0197a4b2-5d1c-7c3e-9a51-0c4f6e1b2d${id}`)
  await writeFile(name('3a'), 'old')
  await writeFile(name('3b'), 'new')
  await utimes(name('3a'), 0, 0)
  await storage.tidy()
  assert.deepEqual(await readdir(directory), ['x.partial-0197a4b2-5d1c-7c3e-9a51-0c4f6e1b2d3b'])
  assert.deepEqual(await storage.list(''), [])
})

test('a bucket retries temporary failures, even in the middle of an upload', async t => {
  const s3 = await fakeS3(t)
  s3.faults.push(
    { matches: ({ query }) => query.get('partNumber') === '2', does: 500 },
    { matches: ({ query }) => query.get('partNumber') === '2', does: 'hang up' },
    { matches: ({ method, query }) => method === 'POST' && query.has('uploads'), does: 503 }
  )
  const content = randomBytes(12 * MIB)
  await bucketOf(s3).put('large', [content])
  assert.ok(s3.objects.get('rhone/one/large')?.equals(content))
  assert.equal(s3.uploads.size, 0)
})

test('a bucket that keeps failing ends the upload, and its parts are aborted', async t => {
  const s3 = await fakeS3(t)
  for (let i = 0; i < 4; i++) s3.faults.push({ matches: ({ query }) => query.get('partNumber') === '2', does: 500 })
  await assert.rejects(bucketOf(s3).put('large', [randomBytes(12 * MIB)]), failsAs('failed'))
  assert.equal(s3.uploads.size, 0)
  assert.equal(s3.objects.size, 0)
})

test('a completion that reports an error in its body is a failure', async t => {
  const s3 = await fakeS3(t)
  s3.faults.push({ matches: ({ method, query }) => method === 'POST' && query.has('uploadId'), does: 'late error' })
  await assert.rejects(bucketOf(s3).put('large', [randomBytes(12 * MIB)]), /was not stored: InternalError/)
  assert.equal(s3.uploads.size, 0)
})

test('wrong credentials are reported as such and not retried', async t => {
  const s3 = await fakeS3(t)
  const storage = bucketOf(s3, { secretAccessKey: 'another' })
  await assert.rejects(storage.put('x', [Buffer.from('x')]), failsAs('denied'))
  await assert.rejects(storage.list(''), /SignatureDoesNotMatch/)
  assert.equal(s3.requests.length, 2)
})

test('a service without conditional writes is first checked for the name', async t => {
  const s3 = await fakeS3(t)
  s3.conditional = false
  const storage = bucketOf(s3)
  await storage.put('x', [Buffer.from('x')])
  await assert.rejects(storage.put('x', [Buffer.from('y')]), failsAs('exists'))
  assert.equal(s3.objects.get('rhone/one/x')?.toString(), 'x')
})

test('a listing of several pages is complete, and ends with the prefix', async t => {
  const s3 = await fakeS3(t)
  s3.page = 2
  s3.objects.set('rhone/other/x', Buffer.alloc(1))
  const storage = bucketOf(s3)
  for (const name of ['a/1', 'a/2', 'a/3', 'a/4', 'a/5']) await storage.put(name, [Buffer.from(name)])
  assert.deepEqual(
    (await storage.list('a/')).map(({ name }) => name),
    ['a/1', 'a/2', 'a/3', 'a/4', 'a/5']
  )
})

test('unfinished uploads are aborted after a day', async t => {
  const s3 = await fakeS3(t)
  s3.uploads.set('old', { key: 'rhone/one/x', begun: new Date(0), parts: new Map() })
  s3.uploads.set('new', { key: 'rhone/one/y', begun: new Date(), parts: new Map() })
  await bucketOf(s3).tidy()
  assert.deepEqual([...s3.uploads.keys()], ['new'])
})

test('a service that does not answer is abandoned in time', async t => {
  const s3 = await fakeS3(t)
  for (let i = 0; i < 4; i++) s3.faults.push({ matches: () => true, does: 'silence' })
  await assert.rejects(bucketOf(s3, { timeout: 50 }).list(''), /no answer within 50 ms/)
  assert.equal(s3.requests.length, 4)
})

test('the fake of S3 serves a published client as S3 does', async t => {
  const s3 = await fakeS3(t)
  const client = new S3mini({ ...s3.credentials, endpoint: `${s3.url}/${s3.bucket}`, region: 'auto' })
  await client.putObject('a.txt', 'hello')
  assert.equal(await client.getObject('a.txt'), 'hello')
  const id = await client.getMultipartUploadId('big')
  const parts = [
    await client.uploadPart('big', id, Buffer.alloc(5 * MIB, 1), 1),
    await client.uploadPart('big', id, Buffer.from('end'), 2)
  ]
  await client.completeMultipartUpload('big', id, parts)
  assert.equal(await client.getContentLength('big'), 5 * MIB + 3)
  assert.deepEqual(
    (await client.listObjects())?.map(object => object.Key),
    ['a.txt', 'big']
  )
  await client.deleteObject('a.txt')
  assert.equal(await client.getObject('a.txt'), null)
  const stranger = new S3mini({ accessKeyId: 'x', secretAccessKey: 'y', endpoint: `${s3.url}/${s3.bucket}` })
  await assert.rejects(stranger.putObject('a.txt', 'hello'))
})

test('a server has the storage of its options, or none', async () => {
  const app = Fastify()
  await app.register(storagePlugin, { directory: '/nowhere' })
  assert.equal(app.storage?.description, 'file:///nowhere')
  await app.close()
  const bare = Fastify()
  await bare.register(storagePlugin)
  assert.equal(bare.storage, null)
  await bare.close()
})

test('files of a folder are readable by their owner only', async t => {
  const directory = await folder(t)
  const storage = openStorage({ directory })!
  await storage.put('a/b', [Buffer.from('secret')])
  assert.equal((await stat(join(directory, 'a/b'))).mode & 0o777, 0o600)
  assert.equal((await stat(join(directory, 'a'))).mode & 0o777, 0o700)
})
