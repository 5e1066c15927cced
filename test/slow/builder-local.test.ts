import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdir, readdir, readFile, rename, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { getCACertificates } from 'node:tls'
import { promisify } from 'node:util'
import Fastify from 'fastify'
import { detect } from '../../integrations/builder/detect.ts'
import builder, { BuildError, type BuilderOptions } from '../../integrations/builder/index.ts'
import { digestOf } from '../../integrations/builder/tree.ts'
import { APP_DIRECTORY, imagePath, readManifest } from '../../plugins/lib/local-image.ts'
import { buildRequest, recordedContext } from '../support/build-context.ts'
import { eventually } from '../support/eventually.ts'
import { countOf } from '../support/process.ts'
import { createRepository, type Files, scratchDirectory } from '../support/repository.ts'

type Options = Partial<Omit<BuilderOptions, 'limits'>> & { limits?: Partial<BuilderOptions['limits']> }

/** A local builder, with a repository that it may clone. */
async function prepare(t: TestContext, options: Options = {}) {
  const dataDir = await scratchDirectory(t, 'rhone-data-')
  const repository = await createRepository(t)
  const app = Fastify()
  t.after(() => app.close())
  await app.register(builder, { kind: 'local', dataDir, allowLocal: true, ...options } as BuilderOptions)
  await app.ready()

  async function build(files: Files, more: Parameters<typeof buildRequest>[1] = {}) {
    await repository.push(files)
    const context = recordedContext()
    const built = await app.builder.build(buildRequest(repository.url, more), context).catch(error => error as Error)
    return { built, ...context }
  }
  return { app, dataDir, repository, build, leftBuilds: () => readdir(join(dataDir, 'builds')) }
}

const APP_ID = buildRequest('').app.id

const packageOf = (scripts: Record<string, string>, more: object = {}) => JSON.stringify({ scripts, ...more })

function imageOf(built: unknown): string {
  assert.ok(!(built instanceof Error), String(built))
  return (built as { image: string }).image
}

test('a commit becomes a running image, through all phases', async t => {
  const { build, dataDir, leftBuilds } = await prepare(t)
  const { built, phases, log } = await build({
    'package.json': packageOf({ build: 'node build.js', start: 'node server.js' }),
    'build.js': 'console.log("building"); require("fs").writeFileSync("built.txt", "made here")',
    'server.js': 'console.log(require("fs").readFileSync("built.txt", "utf8"))'
  })
  const image = imageOf(built)
  assert.match(image, /^local:sha256:[0-9a-f]{64}$/)
  assert.deepEqual(phases, ['cloning', 'analyzing', 'building', 'pushing'])
  assert.match(log(), /\$ npm run build\n[\s\S]*building/)

  const place = imagePath(dataDir, APP_ID, image)
  const { command } = await readManifest(place)
  const [program = '', ...args] = command
  const { stdout } = await promisify(execFile)(program, args, { cwd: join(place, APP_DIRECTORY) })
  assert.equal(stdout, 'made here\n')
  assert.deepEqual(await leftBuilds(), [], 'nothing is left of the build')
})

test('the start command of an image is one process, which signals reach', async t => {
  const { build, dataDir } = await prepare(t)
  const { built } = await build({
    Procfile: 'release: ./migrate\nweb: GREETING=bye node server.js\n',
    'server.js':
      'process.on("SIGTERM", () => { console.log(process.env.GREETING); process.exit() }); setInterval(() => {}, 1e3); console.log("up")'
  })
  const place = imagePath(dataDir, APP_ID, imageOf(built))
  const [program = '', ...args] = (await readManifest(place)).command
  const child = spawn(program, args, { cwd: join(place, APP_DIRECTORY) })
  t.after(() => child.kill('SIGKILL'))
  await once(child.stdout, 'data')
  child.kill('SIGTERM')
  const [said] = await once(child.stdout, 'data')
  assert.equal(String(said), 'bye\n')
})

test('dependencies are installed, and an image contains only what its app needs', async t => {
  const { build, dataDir } = await prepare(t)
  const { built, log } = await build({
    'package.json': packageOf({ start: 'node server.js' }, { dependencies: { greeting: 'file:greeting' } }),
    'greeting/package.json': JSON.stringify({ name: 'greeting', version: '1.0.0', main: 'index.js' }),
    'greeting/index.js': 'module.exports = "hello"',
    'server.js': 'console.log(require("greeting"))'
  })
  const app = join(imagePath(dataDir, APP_ID, imageOf(built)), APP_DIRECTORY)
  assert.match(log(), /\$ npm install/)
  const { stdout } = await promisify(execFile)('node', ['server.js'], { cwd: app })
  assert.equal(stdout, 'hello\n')
  assert.deepEqual((await readdir(app)).sort(), [
    'greeting',
    'node_modules',
    'package-lock.json',
    'package.json',
    'server.js'
  ])
})

test('the digest of an image covers its whole tree', async t => {
  const tree = await scratchDirectory(t, 'rhone-tree-')
  const at = (name: string) => join(tree, name)
  const steps: readonly (() => Promise<unknown>)[] = [
    () => writeFile(at('run'), 'text'),
    () => writeFile(at('run'), 'texT'),
    () => chmod(at('run'), 0o755),
    () => rename(at('run'), at('start')),
    () => symlink('start', at('link')),
    () => rm(at('link')).then(() => symlink('begin', at('link'))),
    () => mkdir(at('empty'))
  ]
  const digests = new Set<string>()
  for (const step of steps) {
    await step()
    digests.add(await digestOf(tree))
  }
  assert.equal(digests.size, steps.length)
  await writeFile(at('start'), 'texT')
  assert.ok(digests.has(await digestOf(tree)), 'the same tree has the same digest, regardless of timestamps')
})

test('the same commit gives the same image, which cannot be changed', async t => {
  const { build, dataDir } = await prepare(t)
  const files: Files = { Procfile: 'web: ./run', run: { program: '#!/bin/sh\necho 1\n' }, 'a/b': 'text' }
  const images = []
  for (const tree of [files, files, { ...files, Procfile: 'web: ./run now' }])
    images.push(imageOf((await build(tree)).built))
  assert.equal(images[0], images[1])
  assert.notEqual(images[0], images[2])

  const app = join(imagePath(dataDir, APP_ID, images[0]!), APP_DIRECTORY)
  for (const path of ['.', 'run', 'a', 'a/b']) {
    const found = await stat(join(app, path))
    // The owner of a directory may remove its entries.
    assert.equal(found.mode & (found.isDirectory() ? 0o7022 : 0o7222), 0, `${path} can be written by no app`)
    assert.equal(found.uid, process.geteuid?.())
  }
})

test('an app without a start command fails with a message that names what is missing', async t => {
  const wrong: readonly (readonly [Record<string, string>, RegExp])[] = [
    [{ 'README.md': 'Hello' }, /Procfile with a line "web: <command>", or a "start" script to package.json/],
    [{ 'package.json': packageOf({ test: 'true' }) }, /a "start" script to package.json/],
    [{ Procfile: 'worker: node worker.js' }, /no line "web: <command>"/],
    [{ 'package.json': 'PASSWORD=hunter2' }, /not a JSON object/]
  ]
  for (const [files, sentence] of wrong) {
    const tree = await scratchDirectory(t, 'rhone-tree-')
    for (const [name, content] of Object.entries(files)) await writeFile(join(tree, name), content)
    await assert.rejects(detect(tree), (error: Error) => {
      assert.ok(error instanceof BuildError, String(error))
      assert.match(error.message, sentence)
      assert.doesNotMatch(error.message, /hunter2/)
      return true
    })
  }
})

const SERVER = 'require("http").createServer((q, s) => s.end("hi")).listen(process.env.PORT)'

test('files with a byte order mark, in UTF-16 or with CRLF can be read', async t => {
  const utf16 = (text: string) => Buffer.from(`\ufeff${text}`, 'utf16le')
  const files: readonly (readonly [name: string, content: Buffer | string])[] = [
    ['Procfile', '\ufeffweb: node s.js\r\n'],
    ['Procfile', utf16('web: node s.js\r\n')],
    ['Procfile', utf16('web: node s.js\r\n').swap16()],
    ['Procfile', `worker: x\nweb: ${' '.repeat(120_000)}node s.js${' '.repeat(120_000)}\n`]
  ]
  for (const [name, content] of files) {
    const tree = await scratchDirectory(t, 'rhone-tree-')
    await writeFile(join(tree, name), content)
    assert.equal((await detect(tree)).start, 'node s.js')
  }
  const tree = await scratchDirectory(t, 'rhone-tree-')
  await writeFile(join(tree, 'package.json'), `\ufeff${packageOf({ start: 'node s.js' })}`)
  assert.match((await detect(tree)).start, /^npm start/)
})

test('a start script runs as with npm: after prestart, and with the variables of npm', async t => {
  const { build, dataDir } = await prepare(t)
  const { built } = await build({
    'package.json': packageOf({ prestart: 'echo first', start: 'node s.js' }, { name: 'shop', version: '4.2.0' }),
    's.js': 'console.log(process.env.npm_package_version)'
  })
  const place = imagePath(dataDir, APP_ID, imageOf(built))
  const [program = '', ...args] = (await readManifest(place)).command
  const { stdout } = await promisify(execFile)(program, args, { cwd: join(place, APP_DIRECTORY) })
  assert.equal(stdout, 'first\n4.2.0\n')
})

test('the package manager of a repository installs it, even if only workspaces have dependencies', async t => {
  const cases: readonly (readonly [files: Record<string, string>, steps: readonly RegExp[]])[] = [
    [{ 'package.json': packageOf({}, { workspaces: ['packages/*'] }) }, [/^install --include=dev$/]],
    [{ 'package-lock.json': '{}' }, [/^ci --include=dev$/]],
    [{ 'pnpm-lock.yaml': "lockfileVersion: '9.0'\n" }, [/--package=pnpm@10 -- pnpm install --prod=false/]],
    [{ 'yarn.lock': '# yarn lockfile v1\n' }, [/--package=yarn@1 -- yarn install/]],
    [{ 'yarn.lock': '__metadata:\n  version: 8\n' }, [/--package=@yarnpkg\/cli-dist@4 -- yarn install$/]],
    [
      {
        'package.json': packageOf({ build: 'b' }, { packageManager: 'pnpm@9.1.0+sha512.0', dependencies: { a: '1' } })
      },
      [/--package=pnpm@9\.1\.0 /, /^run build$/]
    ]
  ]
  for (const [files, expected] of cases) {
    const tree = await scratchDirectory(t, 'rhone-tree-')
    for (const [name, content] of Object.entries({ Procfile: 'web: a', 'package.json': '{}', ...files }))
      await writeFile(join(tree, name), content)
    const { steps } = await detect(tree)
    assert.equal(steps.length, expected.length)
    for (const [index, step] of steps.entries()) assert.match(step.join(' '), expected[index]!)
  }
  const tree = await scratchDirectory(t, 'rhone-tree-')
  await writeFile(join(tree, 'server.js'), '')
  for (const packageManager of ['bun@1.2.0', 'pnpm@latest', 'pnpm@9;id', '--registry=x']) {
    await writeFile(join(tree, 'package.json'), JSON.stringify({ packageManager }))
    await assert.rejects(detect(tree), { name: 'BuildError', message: /use npm, pnpm or yarn/ })
  }
})

test('a long silent build step is reported as still running', async t => {
  const { app, repository } = await prepare(t)
  await repository.push({
    'package.json': packageOf({ build: 'echo hanging; while :; do sleep 1; done', start: 'true' })
  })
  t.mock.timers.enable({ apis: ['setInterval'] })
  const context = recordedContext()
  const building = app.builder.build(buildRequest(repository.url), context)
  await eventually(() => /^hanging/m.test(context.log()))
  t.mock.timers.tick(15_000)
  assert.match(context.log(), /^… npm run is still running, after \d+ s$/m)
  context.cancel(new Error('seen'))
  await assert.rejects(building, /seen/)
})

test('builds trust the certificate authorities of this machine, including NODE_EXTRA_CA_CERTS', async t => {
  const { build } = await prepare(t)
  const count = `for (const name of ['NODE_EXTRA_CA_CERTS', 'SSL_CERT_FILE', 'GIT_SSL_CAINFO'])
    console.log(name, require('node:fs').readFileSync(process.env[name], 'utf8').split('BEGIN CERTIFICATE').length - 1)`
  const { built, log } = await build({
    'package.json': packageOf({ build: 'node count.js', start: 'true' }),
    'count.js': count
  })
  assert.ok(imageOf(built))
  const trusted = new Set((['bundled', 'system', 'extra'] as const).flatMap(source => getCACertificates(source)))
  for (const name of ['NODE_EXTRA_CA_CERTS', 'SSL_CERT_FILE', 'GIT_SSL_CAINFO'])
    assert.match(log(), new RegExp(`^${name} ${trusted.size}$`, 'm'))
})

test('a main without a start script is run, and another Node version or an ignored Dockerfile is reported', async t => {
  const tree = await scratchDirectory(t, 'rhone-tree-')
  await writeFile(join(tree, 'app.js'), SERVER)
  await writeFile(join(tree, 'Dockerfile'), 'FROM scratch')
  await writeFile(join(tree, 'package.json'), JSON.stringify({ main: 'app.js', engines: { node: '18.x' } }))
  const { start, notes } = await detect(tree)
  assert.equal(start, 'node .')
  assert.match(notes.join(' '), /Dockerfile is ignored.*asks for Node\.js "18\.x", but gets \d/)
  await writeFile(join(tree, 'package.json'), JSON.stringify({ main: 'app.js', engines: { node: '>=18' } }))
  assert.equal((await detect(tree)).notes.length, 1)
})

test('unsupported apps are reported before the build', async t => {
  for (const [file, sentence] of [
    ['requirements.txt', /Python \(requirements\.txt\)/],
    ['go.mod', /Go \(go\.mod\)/],
    ['Dockerfile', /cannot build a Dockerfile/]
  ] as const) {
    const tree = await scratchDirectory(t, 'rhone-tree-')
    await writeFile(join(tree, file), '')
    await assert.rejects(detect(tree), { name: 'BuildError', message: sentence })
  }
})

test('an app in a subdirectory is built and run there; without rootDirectory, the error suggests it', async t => {
  const { build, dataDir } = await prepare(t)
  const files: Files = { 'web/package.json': packageOf({ start: 'node s.js' }), 'web/s.js': 'console.log("in web")' }
  const { app } = buildRequest('')
  const lost = await build(files)
  assert.match(String(lost.built), /set its rootDirectory to "web"/)
  const { built } = await build(files, { app: { ...app, rootDirectory: 'web' } })
  const place = imagePath(dataDir, APP_ID, imageOf(built))
  const [program = '', ...args] = (await readManifest(place)).command
  const { stdout } = await promisify(execFile)(program, args, { cwd: join(place, APP_DIRECTORY) })
  assert.equal(stdout, 'in web\n')
  for (const rootDirectory of ['../web', 'gone', "we'b", '/etc', 'web/../..'])
    assert.ok((await build(files, { app: { ...app, rootDirectory } })).built instanceof BuildError, rootDirectory)
})

test('a failed build is reported, and leaves no image and no files', async t => {
  const { build, dataDir, leftBuilds } = await prepare(t)
  const { built, log, phases } = await build({
    'package.json': packageOf({
      build: 'echo what went wrong >&2; mkdir locked; touch locked/a; chmod 0 locked; exit 7',
      start: 'true'
    })
  })
  assert.ok(built instanceof BuildError)
  assert.match(built.message, /npm run build failed with exit code 7/)
  assert.match(log(), /what went wrong/)
  assert.equal(phases.at(-1), 'building')
  assert.deepEqual(await leftBuilds(), [])
  await assert.rejects(stat(join(dataDir, 'images')))
})

test('build secrets are masked before anything runs, and stay out of the image', async t => {
  const { build, dataDir } = await prepare(t)
  const { built, hidden, log } = await build(
    {
      'package.json': packageOf({ build: 'node build.js', start: 'true' }),
      'build.js': `require('fs').writeFileSync('seen.json', JSON.stringify({
        names: Object.keys(process.env), right: process.env.API_KEY === 'k-$(id)"\\n', path: process.env.PATH
      }))`
    },
    { secrets: { API_KEY: 'k-$(id)"\n', PATH: '/evil', LD_PRELOAD: '', npm_config_registry: 'http://127.0.0.1:1' } }
  )
  assert.ok(hidden.includes('k-$(id)"\n'))
  assert.doesNotMatch(log(), /k-\$/)
  const app = join(imagePath(dataDir, APP_ID, imageOf(built)), APP_DIRECTORY)
  const seen = JSON.parse(await readFile(join(app, 'seen.json'), 'utf8'))
  assert.equal(seen.right, true)
  assert.doesNotMatch(seen.path, /evil/)
  const foreign = seen.names.filter(
    (name: string) => name in process.env && !['PATH', 'HOME', 'LANG', 'PWD', 'CI'].includes(name)
  )
  assert.deepEqual(
    foreign.filter(
      (name: string) =>
        !/^(npm_|NODE|INIT_CWD|COLOR|EDITOR|SHLVL|_$|TMPDIR|OLDPWD|GIT_SSL_CAINFO|SSL_CERT_FILE)/i.test(name)
    ),
    []
  )
})

test('invalid names and values of secrets are refused, and not shown', async t => {
  const { build } = await prepare(t)
  const files = { Procfile: 'web: true' }
  const hopeless: Record<string, string>[] = [{ 'A=B': 'secret' }, { '-x': 'secret' }, { A: 'sec\0ret' }]
  for (const secrets of hopeless) {
    const { built } = await build(files, { secrets })
    assert.ok(built instanceof BuildError)
    assert.doesNotMatch(built.message, /sec.?ret/)
  }
})

test('a cancelled build ends with all its processes', async t => {
  const { app, repository, leftBuilds } = await prepare(t, { limits: { graceMs: 100 } })
  await repository.push({
    'package.json': packageOf({
      build: `trap '' TERM; (setsid sleep 301 &); echo hanging; while :; do sleep 1; done`,
      start: 'true'
    })
  })
  const context = recordedContext()
  const building = app.builder.build(buildRequest(repository.url), context)
  await eventually(() => /^hanging/m.test(context.log()))
  const reason = new Error('cancelled')
  context.cancel(reason)
  await assert.rejects(building, error => error === reason)
  assert.deepEqual(await leftBuilds(), [])
  assert.equal(await countOf('sleep 301'), 0)
})

test('a build stops if its next phase is refused', async t => {
  const { app, repository } = await prepare(t)
  await repository.push({ Procfile: 'web: true' })
  const reason = new Error('cancelled meanwhile')
  const context = recordedContext({
    enter: async phase => (phase === 'analyzing' ? Promise.reject(reason) : undefined)
  })
  await assert.rejects(app.builder.build(buildRequest(repository.url), context), error => error === reason)
})

test('a clean-up removes only old images that are not kept', async t => {
  const { app, build, dataDir } = await prepare(t)
  const images = []
  for (const text of ['kept', 'old', 'fresh'])
    images.push(imageOf((await build({ Procfile: 'web: true', text })).built))
  const [kept, old, fresh] = images.map(image => imagePath(dataDir, APP_ID, image))
  const yesterday = new Date(Date.now() - 86_400_000)
  await utimes(kept!, yesterday, yesterday)
  await utimes(old!, yesterday, yesterday)
  await writeFile(join(dataDir, 'images', APP_ID, 'notes.txt'), 'not ours')

  await app.builder.prune!(APP_ID, [images[0]!])
  assert.deepEqual(
    (await readdir(join(dataDir, 'images', APP_ID))).sort(),
    [kept!, fresh!, 'notes.txt'].map(path => path.split('/').at(-1)).sort()
  )
  await app.builder.prune!('00000000-0000-4000-8000-000000000000', [])
  await assert.rejects(app.builder.prune!('../..', []), /not an app id/)
})

test('no image of a deleted app is left, not even a new one', async t => {
  const { app, build, dataDir } = await prepare(t)
  await build({ Procfile: 'web: true' })
  await app.builder.prune!(APP_ID, [])
  assert.equal(
    (await readdir(join(dataDir, 'images', APP_ID))).length,
    1,
    'it may belong to a build that has just ended'
  )
  await app.builder.prune!(APP_ID, null)
  assert.deepEqual(await readdir(join(dataDir, 'images')), [])
})
