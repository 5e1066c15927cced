import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readdir, symlink, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { type TestContext, test } from 'node:test'
import Fastify, { type FastifyServerOptions } from 'fastify'
import builder, { BuildError, type BuilderOptions } from '../../integrations/builder/index.ts'
import { identify } from '../../plugins/lib/processes.ts'
import { buildRequest, recordedContext } from '../support/build-context.ts'
import { eventually } from '../support/eventually.ts'
import { countOf } from '../support/process.ts'
import { createRepository, scratchDirectory } from '../support/repository.ts'

const SERVER = {
  host: 'tcp://buildkitd.internal:1234',
  caFile: '/etc/rhone/ca.pem',
  certFile: '/etc/rhone/cert.pem',
  keyFile: '/etc/rhone/key.pem',
  frontend: 'ghcr.io/railwayapp/railpack-frontend'
}
const REGISTRY = { host: 'registry.example.com', token: 'verysecret' }

async function start(t: TestContext, options: object, server: FastifyServerOptions = {}) {
  const app = Fastify(server)
  t.after(() => app.close())
  await app.register(builder, options as BuilderOptions)
  await app.ready()
  return app
}

/** An app with a long build that reports its start. */
const lasting = (command: string) => ({
  'package.json': JSON.stringify({ scripts: { build: `echo running; ${command}`, start: 'true' } })
})

test('each kind is a builder, and only the one with local images can remove them', async t => {
  const dataDir = await scratchDirectory(t, 'rhone-data-')
  const kinds = { image: false, local: true, buildkit: false }
  for (const [kind, prunes] of Object.entries(kinds)) {
    const app = await start(t, { kind, dataDir, buildkit: SERVER, imageRegistry: REGISTRY })
    assert.equal(app.builder.name, kind)
    assert.equal(app.builder.prune !== undefined, prunes)
  }
})

test('invalid options are refused at the start, without revealing the token', async t => {
  const wrong: readonly (readonly [object, RegExp])[] = [
    [{ kind: 'docker' }, /kind/],
    [{ kind: 'local', limits: { seconds: 0 } }, /seconds/],
    [{ kind: 'local', limits: { time: 1 } }, /time/],
    [{ kind: 'local', programs: { yarn: 'yarn' } }, /yarn/],
    [{ kind: 'buildkit' }, /"buildkit" and "imageRegistry"/],
    [{ kind: 'buildkit', imageRegistry: REGISTRY }, /"buildkit" and "imageRegistry"/],
    [{ kind: 'buildkit', imageRegistry: REGISTRY, buildkit: { ...SERVER, host: 'unix:///run/buildkit' } }, /host/],
    [{ kind: 'buildkit', imageRegistry: REGISTRY, buildkit: { ...SERVER, keyFile: undefined } }, /keyFile/],
    [{ kind: 'buildkit', imageRegistry: { ...REGISTRY, host: 'a,push=false' }, buildkit: SERVER }, /host/]
  ]
  for (const [options, sentence] of wrong)
    await assert.rejects(start(t, options), (error: Error) => {
      assert.match(error.message, sentence)
      assert.doesNotMatch(error.message, /verysecret/)
      return true
    })
})

test('kind image, the default, builds nothing, suggests an alternative, and writes nothing to disk', async t => {
  const parent = await scratchDirectory(t, 'rhone-data-')
  const app = await start(t, { dataDir: join(parent, 'data') })
  await assert.rejects(
    app.builder.build(buildRequest('https://example.com/a.git'), recordedContext()),
    error => error instanceof BuildError && /deploy an image/.test(error.message)
  )
  assert.deepEqual(await readdir(parent), [])
})

test('closing the server ends its builds first', async t => {
  const dataDir = await scratchDirectory(t, 'rhone-data-')
  const repository = await createRepository(t)
  await repository.push(lasting('sleep 302'))
  const app = await start(t, { kind: 'local', dataDir, allowLocal: true, limits: { graceMs: 100 } })
  const context = recordedContext()
  const building = assert.rejects(app.builder.build(buildRequest(repository.url), context), /closing/)
  await eventually(() => /^running/m.test(context.log()))
  await app.close()
  assert.equal(await countOf('sleep 302'), 0)
  assert.deepEqual(await readdir(join(dataDir, 'builds')), [])
  await building
})

test('no build starts while the server closes', async t => {
  const dataDir = await scratchDirectory(t, 'rhone-data-')
  const app = await start(t, { kind: 'local', dataDir, allowLocal: true })
  await app.close()
  const context = recordedContext()
  await assert.rejects(app.builder.build(buildRequest('https://example.com/a.git'), context), /closing/)
  assert.deepEqual(context.phases, [])
  assert.deepEqual(await readdir(join(dataDir, 'builds')), [])
})

test('leftover builds of a crashed server are removed, and builds of a running one are kept', async t => {
  const dataDir = await scratchDirectory(t, 'rhone-data-')
  const repository = await createRepository(t)
  await repository.push(lasting('sleep 303'))
  await crashWhileBuilding(t, { kind: 'local', dataDir, allowLocal: true }, repository.url)
  const builds = join(dataDir, 'builds')
  assert.equal((await readdir(builds)).length, 2)
  assert.ok((await countOf('sleep 303')) > 0, 'its build continues')

  const self = identify(process.pid)
  await leaveBehind(builds, 'living', { owner: self, account: null })
  await leaveBehind(builds, 'recycled', { owner: { ...self, startedAt: 'before' }, account: null })
  await mkdir(join(builds, 'unlocked'))

  const next = await start(t, { kind: 'local', dataDir })
  await next.close()
  assert.deepEqual((await readdir(builds)).sort(), ['living', 'living.lock'])
  assert.equal(await countOf('sleep 303'), 0)
})

async function leaveBehind(builds: string, id: string, lock: object): Promise<void> {
  await mkdir(join(builds, id))
  await symlink(JSON.stringify(lock), join(builds, `${id}.lock`))
}

/** Has another process build this repository, and kills it as soon as the app's own script runs. */
async function crashWhileBuilding(t: TestContext, options: object, url: string): Promise<void> {
  const child = spawn(process.execPath, ['--input-type=module', '--eval', SCRIPT], {
    cwd: resolve(import.meta.dirname, '../..'),
    env: { PATH: process.env.PATH, OPTIONS: JSON.stringify(options), URL: url },
    stdio: ['ignore', 'pipe', 'inherit']
  })
  t.after(() => child.kill('SIGKILL'))
  let said = ''
  child.stdout.on('data', text => (said += text))
  await eventually(() => /^running/m.test(said))
  child.kill('SIGKILL')
  await once(child, 'exit')
}

const SCRIPT = `
  import Fastify from 'fastify'
  import builder from './integrations/builder/index.ts'
  import { buildRequest } from './test/support/build-context.ts'
  const app = Fastify()
  await app.register(builder, JSON.parse(process.env.OPTIONS))
  await app.ready()
  const say = text => process.stdout.write(text)
  await app.builder.build(buildRequest(process.env.URL), { signal: new AbortController().signal, enter: async () => {}, hide() {}, say, note: say })
`

test('leftovers that cannot be removed are logged, and do not prevent the start', async t => {
  const dataDir = await scratchDirectory(t, 'rhone-data-')
  await writeFile(join(dataDir, 'builds'), 'a file where directories should be')
  const lines: string[] = []
  const app = await start(
    t,
    { kind: 'local', dataDir },
    { logger: { stream: { write: line => void lines.push(line) } } }
  )
  await app.close()
  assert.match(lines.join(''), /leftovers of builds could not be removed/)
})
