import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { link, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { promisify } from 'node:util'
import Fastify from 'fastify'
import builder, { type BuilderOptions } from '../../integrations/builder/index.ts'
import { PackageCache } from '../../integrations/builder/package-cache.ts'
import type { Sandbox } from '../../integrations/builder/sandbox.ts'
import { APP_DIRECTORY, imagePath } from '../../plugins/lib/local-image.ts'
import { buildRequest, recordedContext } from '../support/build-context.ts'
import { createRepository, type Files, scratchDirectory } from '../support/repository.ts'

const GREETING = 'module.exports = "hello"\n'
const MEGABYTE = 1_048_576

/** A registry with one package, which counts its downloads. */
async function startRegistry(t: TestContext) {
  const directory = await scratchDirectory(t, 'rhone-registry-')
  await mkdir(join(directory, 'package'))
  await writeFile(join(directory, 'package/package.json'), JSON.stringify({ name: 'greeting', version: '1.0.0' }))
  await writeFile(join(directory, 'package/index.js'), GREETING)
  await promisify(execFile)('tar', ['czf', 'greeting.tgz', 'package'], { cwd: directory })
  const tarball = await readFile(join(directory, 'greeting.tgz'))
  let downloads = 0
  const server = createServer((_request, reply) => {
    downloads++
    reply.end(tarball)
  }).listen(0, '127.0.0.1')
  t.after(() => server.close().closeAllConnections())
  await once(server, 'listening')
  const resolved = `http://127.0.0.1:${(server.address() as AddressInfo).port}/greeting-1.0.0.tgz`
  const integrity = `sha512-${createHash('sha512').update(tarball).digest('base64')}`
  return { downloads: () => downloads, locked: { version: '1.0.0', resolved, integrity } }
}

/** An app that needs the package, as its lockfile says. */
function appOf(locked: object, build?: string, more: object = {}): Files {
  const dependencies = { greeting: '1.0.0' }
  const manifest = { name: 'shop', version: '1.0.0', dependencies, ...more }
  return {
    'package.json': JSON.stringify({ ...manifest, scripts: { start: 'node server.js', ...(build && { build }) } }),
    'package-lock.json': JSON.stringify({
      ...{ name: 'shop', version: '1.0.0', lockfileVersion: 3 },
      packages: { '': manifest, 'node_modules/greeting': locked }
    }),
    'server.js': 'console.log(require("greeting"))'
  }
}

async function prepare(t: TestContext, options: Partial<BuilderOptions> = {}) {
  const [registry, repository] = [await startRegistry(t), await createRepository(t)]
  const dataDir = await scratchDirectory(t, 'rhone-data-')
  const app = Fastify()
  t.after(() => app.close())
  await app.register(builder, { kind: 'local', dataDir, allowLocal: true, ...options } as BuilderOptions)
  await app.ready()

  /** @returns the files of the package in the image */
  async function build(files: Files, id = buildRequest('').app.id): Promise<string> {
    await repository.push(files)
    const request = buildRequest(repository.url)
    const { image } = await app.builder.build({ ...request, app: { ...request.app, id } }, recordedContext())
    return readFile(join(imagePath(dataDir, id, image), APP_DIRECTORY, 'node_modules/greeting/index.js'), 'utf8')
  }
  const caches = async () => (await readdir(join(dataDir, 'package-caches')).catch(() => [])).sort()
  return { app, build, caches, dataDir, registry }
}

const OTHER = '5f0e0c9b-4a4b-4a4b-9d53-0d7a102f1f1b'

test('packages that the lockfile still names are downloaded once per app', async t => {
  const { app, build, caches, dataDir, registry } = await prepare(t)
  const files = appOf(registry.locked)
  assert.equal(await build(files), GREETING)
  assert.equal(await build({ ...files, 'server.js': 'console.log(1)' }), GREETING)
  assert.equal(registry.downloads(), 1)

  await build(files, OTHER)
  assert.equal(registry.downloads(), 2, 'builds run code of their owner, who must not affect what others install')
  assert.equal((await caches()).length, 2)
  assert.equal((await stat(join(dataDir, 'package-caches'))).mode & 0o777, 0o700, 'no build can read it')

  await app.builder.prune!(OTHER, null)
  assert.deepEqual(
    (await caches()).map(name => name.split('.')[0]),
    [buildRequest('').app.id]
  )
})

test('a build that corrupts its cache does not affect the next: the cache is verified', async t => {
  const { build, registry } = await prepare(t)
  const spoil = `find "$npm_config_cache/_cacache/content-v2" -type f -exec sh -c 'chmod u+w "$1" && echo evil > "$1"' sh {} ';'`
  assert.equal(await build(appOf(registry.locked, spoil)), GREETING)
  assert.equal(await build(appOf(registry.locked, undefined, { description: 'npm installs anew' })), GREETING)
  assert.equal(registry.downloads(), 2)
})

test('a failed build leaves no cache, and neither does a server without caching', async t => {
  const { build, caches, registry } = await prepare(t)
  await build(appOf(registry.locked))
  await assert.rejects(build(appOf(registry.locked, 'exit 1')))
  assert.deepEqual(await caches(), [])

  const none = await prepare(t, { packageCacheMb: 0 })
  await none.build(appOf(none.registry.locked))
  assert.deepEqual(await none.caches(), [])
})

/** A cache without builds: `used` acts like a build of this app. */
async function bounded(t: TestContext, limits: Partial<ConstructorParameters<typeof PackageCache>[1]> = {}) {
  const dataDir = await scratchDirectory(t, 'rhone-data-')
  const cache = new PackageCache(dataDir, { bytes: 4 * MEGABYTE, apps: 10, spare: 0, ...limits })
  let builds = 0
  async function take(appId: string, account: Sandbox['account'] = null): Promise<string> {
    const directory = join(dataDir, `build-${builds++}`)
    await mkdir(directory)
    return cache.take(appId, { directory, account } as Sandbox)
  }
  async function used(appId: string, bytes: number): Promise<void> {
    const packages = await take(appId)
    await writeFile(join(packages, 'content'), Buffer.alloc(bytes, 1))
    await cache.put(appId, packages)
  }
  const kept = async () => (await readdir(join(dataDir, 'package-caches'))).map(name => name.split('.')[0]).sort()
  return { cache, dataDir, take, used, kept }
}

test('caches are limited in bytes and number, and the least recently used are removed', async t => {
  const few = await bounded(t, { apps: 2 })
  for (const app of ['a', 'b', 'a', 'c']) await few.used(app, 1_000)
  assert.deepEqual(await few.kept(), ['a', 'c'])

  const small = await bounded(t)
  for (const app of ['a', 'b', 'c', 'd', 'e']) await small.used(app, 0.9 * MEGABYTE)
  assert.deepEqual(await small.kept(), ['b', 'c', 'd', 'e'])
  await small.used('b', 1.1 * MEGABYTE)
  assert.deepEqual(await small.kept(), ['c', 'd', 'e'], 'none may have more than a quarter')

  const full = await bounded(t, { spare: 2 ** 60 })
  await full.used('a', 1_000)
  assert.deepEqual(await full.kept(), [], 'a disk that is short of space stores none')
})

test('of two concurrent builds of an app, one gets its cache, the other an empty one, and one cache is kept', async t => {
  const { cache, take, used, kept } = await bounded(t)
  await used('a', 1_000)
  const [one, other] = await Promise.all([take('a'), take('a')])
  const found = await Promise.all([one, other].map(path => readdir(path)))
  assert.deepEqual(found.flat(), ['content'])
  await Promise.all([one, other].map(path => cache.put('a', path)))
  assert.deepEqual([...new Set(await kept())], ['a'])
})

test('a hard link in a cache does not expose another app’s file to a build', async t => {
  const { cache, dataDir, take } = await bounded(t)
  const packages = await take('a')
  await writeFile(join(dataDir, 'not-theirs'), 'ours')
  await link(join(dataDir, 'not-theirs'), join(packages, 'stolen'))
  await cache.put('a', packages)

  const { uid, gid } = await stat(dataDir)
  assert.deepEqual(await readdir(await take('a', { uid, gid })), [])
  assert.equal(await readFile(join(dataDir, 'not-theirs'), 'utf8'), 'ours')
})
