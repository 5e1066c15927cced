import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { promisify } from 'node:util'
import Fastify from 'fastify'
import builder, { type BuilderOptions } from '../../integrations/builder/index.ts'
import { reusable } from '../../integrations/builder/reuse.ts'
import { APP_DIRECTORY, imagePath } from '../../plugins/lib/local-image.ts'
import { buildRequest, recordedContext } from '../support/build-context.ts'
import { createRepository, type Files, scratchDirectory } from '../support/repository.ts'

const APP = buildRequest('').app.id
const OTHER = '5f0e0c9b-4a4b-4a4b-9d53-0d7a102f1f1b'

/** A registry with one package, which has these scripts. */
async function startRegistry(t: TestContext, scripts: Record<string, string>) {
  const directory = await scratchDirectory(t, 'rhone-registry-')
  await mkdir(join(directory, 'package'))
  const manifest = JSON.stringify({ name: 'greeting', version: '1.0.0', scripts })
  await writeFile(join(directory, 'package/package.json'), manifest)
  await writeFile(join(directory, 'package/index.js'), 'hello')
  await promisify(execFile)('tar', ['czf', 'greeting.tgz', 'package'], { cwd: directory })
  const tarball = await readFile(join(directory, 'greeting.tgz'))
  const server = createServer((_request, reply) => reply.end(tarball)).listen(0, '127.0.0.1')
  t.after(() => server.close().closeAllConnections())
  await once(server, 'listening')
  return {
    version: '1.0.0',
    resolved: `http://127.0.0.1:${(server.address() as AddressInfo).port}/greeting-1.0.0.tgz`,
    integrity: `sha512-${createHash('sha512').update(tarball).digest('base64')}`,
    ...('postinstall' in scripts && { hasInstallScript: true })
  }
}

/** A builder, and an app that needs the registry's package. */
async function prepare(t: TestContext, scriptsOfPackage: Record<string, string> = {}) {
  const [locked, repository] = [await startRegistry(t, scriptsOfPackage), await createRepository(t)]
  const dataDir = await scratchDirectory(t, 'rhone-data-')
  const app = Fastify()
  t.after(() => app.close())
  await app.register(builder, { kind: 'local', dataDir, allowLocal: true } as BuilderOptions)
  await app.ready()

  async function build(scripts: Record<string, string> = {}, more: Files = {}, id = APP) {
    const manifest = { name: 'shop', version: '1.0.0', dependencies: { greeting: '1.0.0' } }
    await repository.push({
      'package.json': JSON.stringify({ ...manifest, scripts: { start: 'node server.js', ...scripts } }),
      'package-lock.json': JSON.stringify({
        ...{ name: 'shop', version: '1.0.0', lockfileVersion: 3 },
        packages: { '': manifest, 'node_modules/greeting': locked }
      }),
      'server.js': '',
      ...more
    })
    const request = buildRequest(repository.url)
    const context = recordedContext()
    const { image } = await app.builder.build({ ...request, app: { ...request.app, id } }, context)
    const installed = join(imagePath(dataDir, id, image), APP_DIRECTORY, 'node_modules/greeting')
    return {
      isInstalledAnew: /^\$ npm ci/m.test(context.log()),
      log: context.log(),
      read: (name: string) => readFile(join(installed, name), 'utf8')
    }
  }
  const archives = () => readdir(join(dataDir, 'installed-packages'))
  return { app, archives, build, dataDir }
}

test('a build with an unchanged lockfile reuses the installation of the last one, but not of another app', async t => {
  const { app, archives, build, dataDir } = await prepare(t)
  assert.equal((await build()).isInstalledAnew, true)
  const second = await build({}, { 'server.js': 'changed' })
  assert.equal(second.isInstalledAnew, false)
  assert.match(second.log, /Reusing the packages of the last build/)
  assert.equal(await second.read('index.js'), 'hello')
  assert.equal((await build({}, {}, OTHER)).isInstalledAnew, true)

  assert.equal((await stat(join(dataDir, 'installed-packages'))).mode & 0o777, 0o700, 'no build can read it')
  for (const name of await archives())
    assert.equal((await stat(join(dataDir, 'installed-packages', name))).uid, process.geteuid!(), 'nor own any')
  await app.builder.prune!(OTHER, null)
  assert.deepEqual(
    (await archives()).map(name => name.split('.')[0]),
    [APP]
  )
})

test('a build that changes its installed packages does not affect the next', async t => {
  const { build } = await prepare(t)
  const spoil = 'echo evil > node_modules/greeting/index.js'
  for (const _ of ['first', 'with what the first has installed'])
    assert.equal(await (await build({ build: spoil })).read('index.js'), 'evil\n')
  const next = await build()
  assert.deepEqual([next.isInstalledAnew, await next.read('index.js')], [false, 'hello'])
})

test('scripts of packages run in each build, with the files of that build', async t => {
  const { build } = await prepare(t, { postinstall: 'cp ../../schema made' })
  const [first, second] = [await build({}, { schema: 'old' }), await build({}, { schema: 'new' })]
  assert.deepEqual([first.isInstalledAnew, await first.read('made')], [true, 'old'])
  assert.deepEqual([second.isInstalledAnew, await second.read('made')], [false, 'new'])
})

test('an archive that cannot be unpacked is replaced by one that can', async t => {
  const { archives, build, dataDir } = await prepare(t)
  await build()
  const [name = ''] = await archives()
  await writeFile(join(dataDir, 'installed-packages', name), 'torn')
  const next = await build()
  assert.deepEqual([next.isInstalledAnew, await next.read('index.js')], [true, 'hello'])
  assert.equal((await build()).isInstalledAnew, false)
})

const LOCKED = { version: '1.0.0', resolved: 'https://registry.example.com/a.tgz', integrity: 'sha512-AAAA' }

test('only an installation that depends only on its key is cached; otherwise the log states why', async t => {
  let trees = 0
  const root = await scratchDirectory(t, 'rhone-reuse-')
  async function verdict({ manifest = {}, packages = { 'node_modules/a': LOCKED }, files = {}, names = [] }: Case) {
    const place = join(root, String(trees++))
    await mkdir(place)
    const lock = JSON.stringify({ lockfileVersion: 3, ...(packages && { packages: { '': {}, ...packages } }) })
    for (const [name, content] of Object.entries({ 'package-lock.json': lock, ...files }))
      await writeFile(join(place, name), content)
    return reusable(place, { scripts: { start: 'node .' }, ...manifest }, names, [process.execPath, process.execPath])
  }
  const keyOf = async (of: Case) => {
    const found = await verdict(of)
    assert.ok(typeof found !== 'string', String(found))
    return found.key
  }

  const usual = await keyOf({})
  for (const same of [
    { manifest: { scripts: { start: 'node app.js', build: 'tsc' } } },
    { names: ['PORT', 'NODE_ENV', 'SECRET'] },
    { files: { 'server.js': '1' } }
  ])
    assert.equal(await keyOf(same), usual)
  const others: Case[] = [
    { manifest: { dependencies: { b: '1' } } },
    { manifest: { overrides: { a: '2' } } },
    { packages: { 'node_modules/a': { ...LOCKED, version: '1.0.1' } } },
    { packages: { 'node_modules/a': { ...LOCKED, hasInstallScript: true } } },
    {
      files: { '.npmrc': '# ours\n@shop:registry = https://npm.example.com\n//npm.example.com/:_authToken=$TOKEN\n' }
    },
    { files: { 'npm-shrinkwrap.json': JSON.stringify({ packages: {} }) } }
  ]
  for (const other of others) assert.notEqual(await keyOf(other), usual)

  const scripted = { ...LOCKED, hasInstallScript: true, optional: true }
  const elsewhere = { ...scripted, os: ['!linux', '!darwin', '!win32'] }
  const found = await verdict({ packages: { 'node_modules/a': elsewhere } })
  assert.deepEqual(typeof found !== 'string' && found.finish, [], 'packages for other platforms are not run')

  const refused: [Case, RegExp][] = [
    [{ manifest: { scripts: { postinstall: 'patch-package' } } }, /"postinstall"/],
    [{ files: { 'binding.gyp': '{}' } }, /binding\.gyp/],
    [{ files: { node_modules: '' } }, /node_modules/],
    [{ names: ['NODE_OPTIONS'] }, /NODE_OPTIONS/],
    [{ names: ['npm_config_omit'] }, /npm_config_omit/],
    [{ files: { '.npmrc': 'node-options=--require ./evil.js' } }, /\.npmrc/],
    [{ files: { '.npmrc': 'registry=https://a.example.com\nuserconfig=./other' } }, /\.npmrc/],
    [{ files: { 'package-lock.json': '{' } }, /older than 7/],
    [{ files: { 'package-lock.json': ' '.repeat(4 * 1_048_576 + 1) } }, /cannot be read/],
    [{ packages: null }, /older than 7/],
    [{ packages: { 'packages/ui': LOCKED } }, /digest/],
    [{ packages: { 'node_modules/../../up': LOCKED } }, /digest/],
    [{ packages: { 'node_modules/ui': { link: true, resolved: 'packages/ui' } } }, /digest/],
    [{ packages: { 'node_modules/a': { resolved: 'git+ssh://git@example.com/a.git#0a1b' } } }, /digest/],
    [{ packages: { 'node_modules/a': scripted } }, /optional/]
  ]
  for (const [of, why] of refused) {
    const found = await verdict(of)
    assert.ok(typeof found === 'string' && why.test(found), JSON.stringify([of, found]).slice(0, 300))
  }
})

interface Case {
  manifest?: object
  packages?: Record<string, object> | null
  files?: Files
  names?: string[]
}
