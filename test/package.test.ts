import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cp, glob, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { after, before, describe, it, type TestContext } from 'node:test'
import { promisify } from 'node:util'
import { emptyDatabase } from './support/database.ts'

const run = promisify(execFile)
const ROOT = join(import.meta.dirname, '..')
const NODE_MODULES = join(ROOT, 'node_modules')
const TSC = join(NODE_MODULES, 'typescript/bin/tsc')
/** Several threads find out the same things, each for itself: a compiler with one takes half of the CPU time. */
const FRUGAL_TSC = '--singleThreaded'
/** What a working copy holds besides its sources, and must never be published. */
const SECRETS = ['.env', '.rhone/operator-token', '.rhone/keys.json', 'server.key']

describe('the package', () => {
  let scratch: string
  let packed: string[]
  const project = () => join(scratch, 'project')

  before(async () => {
    scratch = await mkdtemp(join(tmpdir(), 'rhone-package-'))
    await copySources(join(scratch, 'copy'))
    packed = await buildAndPack(join(scratch, 'copy'), scratch)
    await installInto(project(), join(scratch, 'rhone-0.1.0.tgz'))
  })
  after(() => rm(scratch, { recursive: true, force: true }))

  it('holds what was built and the documents, and neither tests nor secrets', () => {
    assert.ok(packed.includes('dist/src/cli.js'))
    assert.ok(packed.includes('dist/plugins/rate-limit/index.d.ts'))
    assert.ok(packed.includes('README.md'))
    const expected = /^(dist\/|package\.json$|LICENSE$|[A-Z]+\.md$|(plugins|integrations)\/README\.md$)/
    assert.deepEqual(
      packed.filter(file => !expected.test(file) || /(^|\/)(test|bench|\.env)/.test(file)),
      []
    )
  })

  it('exports every plugin by its name', async () => {
    const files = await Array.fromAsync(glob(['plugins/*.ts', 'plugins/*/index.ts'], { cwd: ROOT }))
    const names = files.map(file => (basename(file) === 'index.ts' ? basename(dirname(file)) : basename(file, '.ts')))
    assert.ok(names.length > 15)
    const script = `
      for (const name of ${JSON.stringify(names)}) {
        const plugin = (await import('rhone/plugins/' + name)).default
        if (typeof plugin !== 'function') throw new Error(name + ' is no plugin')
      }
      const { buildApp } = await import('rhone/app')
      const { loadConfig } = await import('rhone/config')
      console.log(typeof buildApp, loadConfig({}).version)`
    const { stdout } = await runNode(['--input-type=module', '--eval', script], project())
    assert.equal(stdout.trim(), 'function 0.1.0')
  })

  it('gives types to those who use it', async () => {
    await writeFile(join(project(), 'wrong.js'), "import { none } from 'rhone/plugins/cors'\nnone()\n")
    const flags = '--allowJs --checkJs --strict --skipLibCheck --module nodenext --target es2024 --types node'
    const args = [...flags.split(' '), '--noEmit', FRUGAL_TSC, 'app.js', 'wrong.js']
    const { stdout } = await runNode([TSC, ...args], project()).catch(({ cause }) => cause)
    assert.match(stdout, /^wrong\.js\(1,10\): error TS\d+: .* has no exported member 'none'.*\n$/)
  })

  it('brings a command line that migrates an empty database', async t => {
    const cli = join(project(), 'node_modules/rhone/dist/src/cli.js')
    assert.equal((await runNode([cli, '--version'], project())).stdout, '0.1.0\n')
    const env = { ...process.env, DATABASE_URL: await emptyDatabase(t) }
    const { stdout } = await run(process.execPath, [cli, 'migrate', '--json'], { cwd: project(), env })
    assert.ok(JSON.parse(stdout).applied.length > 0)
  })

  it('lends three of its plugins to a bare Fastify outside of the tree', async t => {
    const url = await startExample(t, project())

    const open = await fetch(url)
    assert.equal(open.status, 200)
    assert.equal(open.headers.get('content-security-policy'), "default-src 'none'; frame-ancestors 'none'")
    assert.equal(open.headers.get('x-content-type-options'), 'nosniff')

    const limited = [await fetch(`${url}/limited`), await fetch(`${url}/limited`), await fetch(`${url}/limited`)]
    assert.deepEqual(
      limited.map(({ status }) => status),
      [200, 200, 429]
    )
    assert.ok(Number(limited[2]!.headers.get('retry-after')) > 0)

    assert.equal((await fetch(`${url}/close`, { method: 'POST' })).status, 200)
    const closed = await fetch(url)
    assert.equal(closed.status, 503)
    assert.ok(Number(closed.headers.get('retry-after')) > 0)
    assert.equal(closed.headers.get('x-content-type-options'), 'nosniff')
  })
})

/** A working copy as somebody would publish it, with secrets lying about. */
async function copySources(copy: string): Promise<void> {
  const { files } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8'))
  const folders = ['src', 'plugins', 'integrations', 'routes', 'schemas', 'views', 'drizzle']
  const wanted = new Set([
    ...folders,
    ...files,
    'package.json',
    'tsconfig.json',
    'tsconfig.build.json',
    'test/fixtures'
  ])
  wanted.delete('dist')
  for (const name of wanted) await cp(join(ROOT, name), join(copy, name), { recursive: true })
  for (const name of SECRETS) {
    await mkdir(dirname(join(copy, name)), { recursive: true })
    await writeFile(join(copy, name), 'secret')
  }
  await symlink(NODE_MODULES, join(copy, 'node_modules'))
}

/** @returns the paths in the tarball */
async function buildAndPack(copy: string, destination: string): Promise<string[]> {
  // The types are checked elsewhere, for twice the time that the building takes.
  await run('npm', ['run', 'build', '--', FRUGAL_TSC, '--noCheck'], { cwd: copy })
  const pack = ['pack', '--json', '--offline', '--ignore-scripts', '--pack-destination', destination]
  const { stdout } = await run('npm', pack, { cwd: copy })
  const [{ files }] = JSON.parse(stdout) as [{ files: { path: string }[] }]
  return files.map(({ path }) => path)
}

/** What `npm install rhone fastify` would leave, without the network. */
async function installInto(project: string, tarball: string): Promise<void> {
  const installed = join(project, 'node_modules/rhone')
  await mkdir(installed, { recursive: true })
  await run('tar', ['-xzf', tarball, '-C', installed, '--strip-components=1'])
  await symlink(NODE_MODULES, join(installed, 'node_modules'))
  for (const name of ['fastify', '@types']) await symlink(join(NODE_MODULES, name), join(project, 'node_modules', name))
  await writeFile(join(project, 'package.json'), '{ "type": "module" }')
  await cp(join(ROOT, 'test/fixtures/three-plugins/app.js'), join(project, 'app.js'))
}

async function runNode(args: readonly string[], cwd: string): Promise<{ stdout: string }> {
  try {
    return await run(process.execPath, args, { cwd })
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string }
    throw new Error(stdout + stderr, { cause: error })
  }
}

async function startExample(t: TestContext, project: string): Promise<string> {
  const child = spawn(process.execPath, ['app.js'], { cwd: project, stdio: ['ignore', 'pipe', 'inherit'] })
  t.after(async () => {
    const exited = once(child, 'exit')
    child.kill('SIGTERM')
    await exited
  })
  const [url] = await once(createInterface(child.stdout), 'line')
  return url
}
