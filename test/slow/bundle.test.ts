import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { appendFile, cp, mkdtemp, rm, symlink, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { type TestContext, test } from 'node:test'
import { promisify } from 'node:util'
import { emptyDatabase } from '../support/database.ts'

const ROOT = join(import.meta.dirname, '../..')
const COPIED = [
  'src',
  'plugins',
  'integrations',
  'routes',
  'views',
  'schemas',
  'drizzle',
  'monitoring',
  'scripts',
  'public'
]
const FILES = ['package.json', 'package-lock.json', 'tsconfig.json']
/** Counts the modules that are loaded from a bundle. */
const COUNTING = `data:text/javascript,${encodeURIComponent(`
  import { registerHooks } from 'node:module'
  let bundled = 0
  registerHooks({ load(url, context, next) {
    if (url.includes('/.cache/bundle/')) bundled++
    return next(url, context)
  } })
  process.on('exit', () => process.stderr.write('bundled modules: ' + bundled))`)}`

/** An installation of its own, whose files a test may change. */
async function installation(t: TestContext) {
  const root = await mkdtemp(join(tmpdir(), 'rhone-bundle-'))
  t.after(() => rm(root, { recursive: true, force: true }))
  for (const name of [...COPIED, ...FILES]) await cp(join(ROOT, name), join(root, name), { recursive: true })
  await symlink(join(ROOT, 'node_modules'), join(root, 'node_modules'))
  const env = { PATH: process.env.PATH, DATA_DIR: join(root, '.rhone') }
  const node = promisify(execFile)
  return {
    root,
    env,
    bundle: () => node(process.execPath, ['scripts/bundle.ts'], { cwd: root, env }),
    /** Starts a server that ends at once, as its port is none, and counts the modules from the bundle until then. */
    async bundled(settings: Record<string, string> = {}): Promise<number> {
      const options = { cwd: root, env: { ...env, PORT: 'none', ...settings } }
      const { stderr } = await node(process.execPath, ['--import', COUNTING, 'src/server.ts'], options).catch(e => e)
      assert.match(stderr, /PORT: must be a whole number/)
      return Number(/bundled modules: (\d+)/.exec(stderr)![1])
    }
  }
}

test('a server starts from its bundle, unless anything suggests that its sources would act differently', async t => {
  const { root, env, bundle, bundled } = await installation(t)
  assert.equal(await bundled(), 0, 'there is none')
  await bundle()
  assert.ok((await bundled()) > 0)
  assert.ok((await bundled({ RHONE_SWAP: 'cors=off' })) > 0)

  assert.equal(await bundled({ RHONE_SHORTCUTS_OFF: 'bundle' }), 0)
  assert.equal(await bundled({ RHONE_SWAP: 'cors=off, audit=./my-audit.ts' }), 0)
  await writeFile(join(root, 'swaps'), 'audit=./my-audit.ts')
  assert.equal(await bundled({ RHONE_SWAP_FILE: 'swaps' }), 0)
  await writeFile(join(root, '.env'), 'RHONE_SWAP=audit=./my-audit.ts\n')
  assert.equal(await bundled(), 0)
  await cp(join(ROOT, '.env.example'), join(root, '.env'))
  assert.ok((await bundled()) > 0, 'the example only names the variable')
  await rm(join(root, '.env'))

  await appendFile(join(root, 'src/config/error.ts'), '\n')
  assert.equal(await bundled(), 0, 'a source has changed')
  await bundle()
  assert.ok((await bundled()) > 0)
  await utimes(join(root, 'package-lock.json'), new Date(0), new Date(0))
  assert.equal(await bundled(), 0, 'packages may have changed')

  await cp(root, `${root}-moved`, { recursive: true, preserveTimestamps: true, verbatimSymlinks: true })
  t.after(() => rm(`${root}-moved`, { recursive: true, force: true }))
  const moved = promisify(execFile)(process.execPath, ['--import', COUNTING, 'src/server.ts'], {
    cwd: `${root}-moved`,
    env: { ...env, PORT: 'none' }
  })
  assert.match((await moved.catch(error => error)).stderr, /bundled modules: 0/, 'paths in it would be wrong')
})

test('what starts a server from its sources is not broken by a damaged bundle', async t => {
  const { root, bundle, bundled } = await installation(t)
  await bundle()
  const manifest = join(root, '.cache/bundle/manifest.json')
  await rm(join(root, JSON.parse(readFileSync(manifest, 'utf8')).programs.server))
  assert.equal(await bundled(), 0)
  await writeFile(manifest, '{"root":')
  assert.equal(await bundled(), 0)
})

test('a bundled server loads the packages of every option, as its sources do', { timeout: 120_000 }, async t => {
  const { root, env, bundle } = await installation(t)
  await bundle()
  const settings = {
    ...env,
    PORT: '0',
    DATABASE_URL: await emptyDatabase(t),
    REDIS_URL: 'redis://127.0.0.1:1',
    OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:1',
    SENTRY_DSN: 'http://key@127.0.0.1:1/1',
    SMTP_URL: 'smtp://127.0.0.1:1',
    MAIL_FROM: 'rhone@example.com'
  }
  const server = spawn(process.execPath, ['src/server.ts'], {
    cwd: root,
    env: settings,
    stdio: ['ignore', 'pipe', 'ignore']
  })
  t.after(() => server.kill('SIGKILL'))
  const lines: string[] = []
  for await (const line of createInterface(server.stdout)) {
    lines.push(line)
    if (JSON.parse(line).msg === 'ready' || JSON.parse(line).level === 'fatal') break
  }
  assert.match(lines.at(-1) ?? 'nothing was logged', /"msg":"ready"/, lines.join('\n'))
  assert.ok(
    lines.some(line => line.includes('connect ECONNREFUSED 127.0.0.1:1')),
    'the client of Redis has tried'
  )
  const exited = once(server, 'exit')
  server.kill('SIGKILL')
  await exited
})

test('a trace of a bundled server names lines of its sources', { timeout: 60_000 }, async t => {
  const { root, env, bundle } = await installation(t)
  await bundle()
  const settings = { ...env, PORT: '0', DATABASE_URL: 'postgres://nobody@127.0.0.1:1/nothing' }
  const server = spawn(process.execPath, ['src/server.ts'], {
    cwd: root,
    env: settings,
    stdio: ['ignore', 'pipe', 'ignore']
  })
  t.after(() => server.kill('SIGKILL'))
  const frame = /at unreachable \(file:\/\/(\S+\/plugins\/database\/pool\.ts):(\d+):(\d+)\)/
  for await (const line of createInterface(server.stdout)) {
    const [, file, row, column] = frame.exec(line) ?? []
    if (file === undefined) continue
    assert.equal(file, join(root, 'plugins/database/pool.ts'))
    assert.match(
      readFileSync(file, 'utf8')
        .split('\n')
        [Number(row) - 1]!.slice(Number(column) - 1),
      /^(errors\.)?unavailable\(/
    )
    break
  }
  const exited = once(server, 'exit')
  server.kill('SIGKILL')
  await exited
})
