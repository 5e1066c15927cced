import assert from 'node:assert/strict'
import { access, chmod, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import Fastify from 'fastify'
import builder, { BuildError, type BuilderOptions } from '../../integrations/builder/index.ts'
import { nullIf } from '../../plugins/lib/errno.ts'
import { buildRequest, recordedContext } from '../support/build-context.ts'
import { eventually } from '../support/eventually.ts'
import { countOf } from '../support/process.ts'
import { createRepository, scratchDirectory } from '../support/repository.ts'

const TOKEN = 'registry-verysecret'
const AUTH = Buffer.from(`x:${TOKEN}`).toString('base64')
const DIGEST = `sha256:${'0123456789abcdef'.repeat(4)}`
const APP = buildRequest('').app

type Options = Partial<Omit<BuilderOptions, 'limits'>> & { limits?: Partial<BuilderOptions['limits']> }

/** Shell code that replaces a program, after it has recorded its arguments and environment. */
interface Stubs {
  readonly railpack?: string
  readonly buildctl?: string
}

/** buildctl gets the file for the metadata of the image as its last argument, `$metadata`. */
const succeeds = (metadata = `{"containerimage.digest": "${DIGEST}"}`) => `
  echo '#1 [internal] load build definition'
  echo '#9 exporting to image'
  printf '%s' '${metadata}' > "$metadata"`

const fails = (said: string, code = 1) => `echo '${said}' >&2; exit ${code}`

/** A builder with stubs of its programs, and a repository. */
async function prepare(t: TestContext, stubs: Stubs = {}, options: Options = {}) {
  const dataDir = await scratchDirectory(t, 'rhone-data-')
  const programs = await scratchDirectory(t, 'rhone-programs-')
  const records = join(programs, 'records')
  await mkdir(records)
  // Railpack may run as another user.
  await chmod(records, 0o777)
  await install(programs, 'railpack', stubs.railpack ?? 'echo "{}" > "$4"')
  // Its workspace contains all of its input, and is kept for the test, with its modes.
  await install(
    programs,
    'buildctl',
    `cp -Rp . '${records}/workspace'\nfor metadata; do :; done\n${stubs.buildctl ?? succeeds()}`
  )
  const repository = await createRepository(t)
  const commitSha = await repository.push({ 'index.js': 'app' })

  const app = Fastify()
  t.after(() => app.close())
  await app.register(builder, {
    kind: 'buildkit',
    dataDir,
    allowLocal: true,
    path: `${programs}:${process.env.PATH}`,
    buildkit: {
      host: 'tcp://buildkitd.internal:1234',
      caFile: '/tls/ca.pem',
      certFile: '/tls/cert.pem',
      keyFile: '/tls/key.pem'
    },
    imageRegistry: { host: 'registry.example.com:5000', token: TOKEN },
    ...options
  } as BuilderOptions)
  await app.ready()

  async function build(more: Parameters<typeof buildRequest>[1] = {}, context = recordedContext()) {
    const building = app.builder.build(buildRequest(repository.url, more), context)
    const built = await building.catch(error => error as Error)
    assert.deepEqual(
      (await readdir(join(dataDir, 'builds')).catch(nullIf('ENOENT'))) ?? [],
      [],
      'nothing is left of it'
    )
    return { built, ...context }
  }

  const recorded = async (file: string) => (await readFile(join(records, file), 'utf8')).split('\0').slice(0, -1)
  return {
    build,
    programs,
    commitSha,
    workspace: join(records, 'workspace'),
    /** The arguments of a program, with its workspace as `.`. */
    argv: async (program: string) =>
      (await recorded(`${program}.argv`)).map(argument => argument.replace(/\/[^"]*\/builds\/[0-9a-f-]{36}/, '.')),
    env: async (program: string) =>
      Object.fromEntries((await recorded(`${program}.env`)).map(line => line.split(/=(.*)/s, 2))),
    hasRun: (program: string) =>
      access(join(records, `${program}.argv`)).then(
        () => true,
        () => false
      )
  }
}

async function install(directory: string, name: string, script: string): Promise<void> {
  const record = join(directory, 'records', name)
  const program = `#!/bin/sh
printf '%s\\0' "$@" > '${record}.argv'
env -0 > '${record}.env'
echo "${name} $*"; env
${script}
`
  await writeFile(join(directory, name), program, { mode: 0o755 })
}

test('a commit becomes an image in the registry, recorded by its digest, through all phases', async t => {
  const { build, commitSha, workspace } = await prepare(t)
  const { built, phases } = await build()
  assert.deepEqual(built, {
    image: `registry.example.com:5000/${APP.flyAppId}@${DIGEST}`,
    commitSha,
    commitMessage: 'Change it',
    commitAuthor: 'Ada'
  })
  assert.deepEqual(phases, ['cloning', 'analyzing', 'building', 'pushing'])
  assert.equal(await readFile(join(workspace, 'source/index.js'), 'utf8'), 'app')
  assert.equal(await readFile(join(workspace, 'plan/railpack-plan.json'), 'utf8'), '{}\n')
})

test('railpack and buildctl are called as documented', async t => {
  const { build, argv, commitSha } = await prepare(t)
  await build()
  assert.deepEqual(await argv('railpack'), ['prepare', './source', '--plan-out', './plan/railpack-plan.json'])
  const args = await argv('buildctl')
  const hash = args.find(argument => argument.startsWith('build-arg:secrets-hash='))!
  assert.match(hash, /=[0-9a-f]{64}$/)
  assert.deepEqual(args, [
    ...['--addr', 'tcp://buildkitd.internal:1234'],
    ...['--tlscacert', '/tls/ca.pem', '--tlscert', '/tls/cert.pem', '--tlskey', '/tls/key.pem'],
    ...['build', '--progress', 'plain', '--frontend', 'gateway.v0'],
    ...['--opt', 'source=ghcr.io/railwayapp/railpack-frontend'],
    ...['--opt', `build-arg:cache-key=${APP.id}`, '--opt', hash],
    ...['--local', 'context=./source', '--local', 'dockerfile=./plan'],
    '--output',
    `type=image,name=registry.example.com:5000/${APP.flyAppId}:${commitSha.slice(0, 12)},push=true`,
    ...['--metadata-file', './metadata.json']
  ])
})

test('the image name of an app is unique, and independent of its slug', async t => {
  const { build } = await prepare(t)
  const { built } = await build({ app: { ...APP, slug: 'other', flyAppId: null } })
  assert.equal((built as { image: string }).image, `registry.example.com:5000/${APP.id}@${DIGEST}`)
  for (const flyAppId of ['../other', 'a,push=false', 'a:b', '']) {
    const { built: refused, phases } = await build({ app: { ...APP, flyAppId } })
    assert.deepEqual(phases, [])
    assert.ok(refused instanceof Error && !(refused instanceof BuildError), flyAppId)
  }
})

const SECRETS = {
  API_KEY: 'k-"$(id)"\n\u00e9-topsecret',
  LD_PRELOAD: '/evil/topsecret.so',
  PATH: '/evil/topsecret',
  EMPTY: '',
  RAILPACK_BUILD_CMD: 'make topsecret'
}

test('build secrets reach buildkit as files, and appear in no argument, environment or log', async t => {
  const { build, argv, env, workspace } = await prepare(t)
  const { built, log, hidden } = await build({ secrets: SECRETS })
  assert.ok(!(built instanceof Error), String(built))

  const args = await argv('buildctl')
  const handed = args.flatMap((argument, index) => (args[index - 1] === '--secret' ? [argument] : []))
  assert.deepEqual(
    handed,
    Object.keys(SECRETS).map(name => `id=${name},"src=./secrets/${name}"`)
  )
  for (const [name, value] of Object.entries(SECRETS)) {
    const file = join(workspace, 'secrets', name)
    assert.equal(await readFile(file, 'utf8'), value)
    assert.equal((await stat(file)).mode & 0o777, 0o600)
  }
  assert.equal((await stat(join(workspace, 'secrets'))).mode & 0o777, 0o700)

  assert.deepEqual(
    (await argv('railpack')).slice(4),
    Object.keys(SECRETS).flatMap(name => ['--env', name.startsWith('RAILPACK_') ? name : `${name}=secret`]),
    'railpack learns the names for its plan'
  )
  const railpack = await env('railpack')
  assert.equal(
    railpack.RAILPACK_BUILD_CMD,
    SECRETS.RAILPACK_BUILD_CMD,
    'railpack gets the variable that is meant for it'
  )
  delete railpack.RAILPACK_BUILD_CMD
  const seen = [args, await argv('railpack'), await env('buildctl'), railpack]
  assert.doesNotMatch(JSON.stringify(seen), /topsecret|LD_PRELOAD":/)
  // The stubs print all of their input; the log's owner redacts railpack's.
  assert.doesNotMatch(log().replaceAll(SECRETS.RAILPACK_BUILD_CMD, ''), /topsecret/)
  for (const value of Object.values(SECRETS)) assert.ok(value === '' || hidden.includes(value))
})

test('a changed secret makes caches stale, and an unchanged one in another order does not', async t => {
  const { build, argv } = await prepare(t)
  const changes: Record<string, string>[] = [
    { A: '1', B: '2' },
    { B: '2', A: '1' },
    { A: '1', B: '3' }
  ]
  const hashes = []
  for (const secrets of changes) {
    await build({ secrets })
    hashes.push((await argv('buildctl')).find(argument => argument.includes('secrets-hash')))
  }
  assert.equal(hashes[0], hashes[1])
  assert.equal(new Set(hashes).size, 2)
})

test('buildctl authenticates to the registry with a private file', async t => {
  const { build, argv, env, workspace } = await prepare(
    t,
    {},
    {
      imageRegistry: { host: 'registry.example.com:5000/tenants', token: TOKEN }
    }
  )
  const { built, hidden, log } = await build()
  assert.equal((built as { image: string }).image, `registry.example.com:5000/tenants/${APP.flyAppId}@${DIGEST}`)

  const { DOCKER_CONFIG } = await env('buildctl')
  assert.match(DOCKER_CONFIG!, /\/builds\/[0-9a-f-]{36}\/docker$/)
  const config = join(workspace, 'docker/config.json')
  assert.deepEqual(JSON.parse(await readFile(config, 'utf8')), {
    auths: { 'registry.example.com:5000': { auth: AUTH } }
  })
  assert.equal((await stat(config)).mode & 0o777, 0o600)
  assert.equal((await stat(join(workspace, 'docker'))).mode & 0o777, 0o700)

  const seen = [await argv('buildctl'), await argv('railpack'), await env('buildctl'), await env('railpack'), log()]
  for (const secret of [TOKEN, AUTH]) {
    assert.ok(hidden.includes(secret))
    assert.ok(!JSON.stringify(seen).includes(secret))
  }
})

test('neither program sees our environment variables', async t => {
  process.env.RHONE_TEST_SECRET = 'ours'
  t.after(() => delete process.env.RHONE_TEST_SECRET)
  const { build, env } = await prepare(t)
  await build()
  const theirs = ['HOME', 'LANG', 'PATH', 'RHONE_BUILD', 'PWD', 'OLDPWD', 'SHLVL', '_']
  for (const [program, more] of [
    ['railpack', 'TMPDIR'],
    ['buildctl', 'DOCKER_CONFIG']
  ] as const)
    assert.deepEqual(
      Object.keys(await env(program)).filter(name => !theirs.includes(name)),
      [more]
    )
})

test('only buildctl runs as the user of the server', {
  skip: process.geteuid?.() !== 0 && 'only root can be others'
}, async t => {
  const { build } = await prepare(t, {
    railpack: 'echo "railpack: $(id -u)"; echo "{}" > "$4"',
    buildctl: `echo "buildctl: $(id -u)"; ${succeeds()}`
  })
  const { log } = await build()
  assert.ok(Number(/^railpack: (\d+)$/m.exec(log())![1]) >= 61_184)
  assert.match(log(), /^buildctl: 0$/m)
})

test('an app that railpack cannot plan is not built, and its message says where to look', async t => {
  const { build, hasRun } = await prepare(t, { railpack: fails('no start command was found') })
  const { built, log, phases } = await build()
  assert.ok(built instanceof BuildError, String(built))
  assert.match(built.message, /see the log for what is missing/)
  assert.match(log(), /no start command was found/)
  assert.deepEqual(phases, ['cloning', 'analyzing'])
  assert.equal(await hasRun('buildctl'), false)
})

test('a step that fails is named with its exit code', async t => {
  const { build } = await prepare(t, {
    buildctl: `echo '#7 0.4 dial tcp: connection refused, says a test of the app'
      ${fails('error: failed to solve: process "sh -c npm run build" did not complete successfully: exit code: 7')}`
  })
  const { built, phases } = await build()
  assert.ok(built instanceof BuildError, String(built))
  assert.equal(built.message, 'The step "sh -c npm run build" failed with exit code 7.')
  assert.equal(phases.at(-1), 'building')
})

test('a build that fails otherwise reports how it ended', async t => {
  const { build } = await prepare(t, { buildctl: fails('#7 0.4 x509: in the words of the app', 3) })
  const { built } = await build()
  assert.ok(built instanceof BuildError, String(built))
  assert.match(built.message, /failed with exit code 3: see the log/)
})

test('an outage of buildkitd or the registry is retried, and not blamed on the app', async t => {
  const outages = [
    'error: failed to list workers: Unavailable: connection error: desc = "transport: dial tcp 10.0.0.1:1234: i/o timeout"',
    'error: failed to solve: failed to push registry.example.com/a:b: unexpected status from PUT request: 503 Service Unavailable',
    '#2 ERROR: ghcr.io/railwayapp/railpack-frontend: failed to resolve source metadata'
  ]
  const { build, programs } = await prepare(t)
  for (const outage of outages) {
    await install(programs, 'buildctl', fails(outage))
    const { built } = await build()
    assert.ok(built instanceof Error && !(built instanceof BuildError), outage)
    assert.match(built.message, /could not reach its builder or its registry/)
  }
})

test('an image without a reported digest is refused', async t => {
  const { build, programs } = await prepare(t, { buildctl: 'exit 0' })
  const other = `{"containerimage.config.digest": "${DIGEST}", "containerimage.digest": "latest"}`
  for (const buildctl of [null, succeeds(other), succeeds('{"containerima')]) {
    if (buildctl !== null) await install(programs, 'buildctl', `for metadata; do :; done\n${buildctl}`)
    const { built } = await build()
    assert.ok(built instanceof Error && !(built instanceof BuildError), String(buildctl))
    assert.match(built.message, /did not report the pushed image/)
  }
})

test('missing programs are an internal failure, found before anything is fetched', async t => {
  for (const program of ['railpack', 'buildctl']) {
    const { build } = await prepare(t, {}, { programs: { [program]: '/nonexistent/tool' } as never })
    const { built, phases } = await build()
    assert.ok(built instanceof Error && !(built instanceof BuildError))
    assert.match(built.message, /^\/nonexistent\/tool is not installed/)
    assert.deepEqual(phases, [])
  }
})

/** A process that ignores SIGTERM, like its detached child in another process group. */
const hangs = (seconds: number) => `
  trap '' TERM
  (setsid sleep ${seconds} &)
  echo hanging
  while :; do sleep 1; done`

for (const program of ['railpack', 'buildctl'] as const)
  test(`a cancelled build stops ${program} with all its processes`, async t => {
    const { build } = await prepare(t, { [program]: hangs(311) }, { limits: { graceMs: 100 } })
    const context = recordedContext()
    const building = build({ secrets: { A: 'topsecret' } }, context)
    await eventually(() => /^hanging/m.test(context.log()))
    const reason = new Error('cancelled')
    context.cancel(reason)
    assert.equal((await building).built, reason)
    assert.equal(await countOf('sleep 311'), 0)
  })

test('an endless build is killed with all its processes', async t => {
  const { build } = await prepare(t, { buildctl: hangs(312) }, { limits: { seconds: 3, graceMs: 100 } })
  const { built } = await build()
  assert.ok(built instanceof BuildError, String(built))
  assert.match(built.message, /longer than 3 seconds/)
  assert.equal(await countOf('sleep 312'), 0)
})

test('processes that buildctl leaves behind are ended', async t => {
  const { build } = await prepare(t, { buildctl: `(setsid sleep 313 &)\n${succeeds()}` })
  const { built } = await build()
  assert.ok(!(built instanceof Error), String(built))
  assert.equal(await countOf('sleep 313'), 0)
})

test('a build that is cancelled before its push reports no image', async t => {
  const reason = new Error('cancelled meanwhile')
  const enter = async (phase: string) => (phase === 'pushing' ? Promise.reject(reason) : undefined)
  const { build } = await prepare(t)
  const { built } = await build({}, recordedContext({ enter }))
  assert.equal(built, reason)
})

test('a flooded build log is cut with a notice, and the build succeeds', async t => {
  const { build } = await prepare(
    t,
    { buildctl: `yes 'a line of a flood' | head -n 20000\n${succeeds()}` },
    { limits: { outputKb: 8 } }
  )
  const { built, log, phases } = await build()
  assert.ok(!(built instanceof Error), String(built))
  assert.ok(log().length < 80_000, `${log().length} characters`)
  assert.match(log(), /the rest is dropped/)
  assert.equal(phases.at(-1), 'pushing')
})
