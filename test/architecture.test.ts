import assert from 'node:assert/strict'
import { glob, readFile } from 'node:fs/promises'
import { basename, dirname, join, relative, resolve } from 'node:path'
import { test } from 'node:test'

const root = resolve(import.meta.dirname, '..')
const read = (path: string) => readFile(join(root, path), 'utf8')
const find = async (...patterns: string[]) => {
  const paths = await Array.fromAsync(glob(patterns, { cwd: root }))
  return paths.filter(path => !path.includes('node_modules')).sort()
}

/** All shipped files. */
const sources = () => find('{src,plugins,integrations,routes,schemas,drizzle,views}/**/*.ts')

interface Import {
  readonly from: string
  readonly target: string
  readonly typeOnly: boolean
}

/** What a module imports; relative specifiers as paths from the root. */
function importsOf(path: string, source: string): Import[] {
  const statement =
    /^(?:import|export)\s+(type\s+)?(?:[^'"]*?\s+from\s+)?['"]([^'"]+)['"]|import\(\s*['"]([^'"]+)['"]\s*\)/gm
  return [...source.matchAll(statement)].map(([, type, fixed, dynamic]) => {
    const specifier = (fixed ?? dynamic)!
    const target = specifier.startsWith('.') ? relative(root, resolve(root, dirname(path), specifier)) : specifier
    return { from: path, target, typeOnly: type !== undefined }
  })
}

const isPackage = (target: string) =>
  !/^(src|plugins|integrations|routes|schemas|drizzle|views|test|bench|public)\//.test(target)
const isNpmOrNode = (target: string) => isPackage(target) && !target.startsWith('.') && !target.startsWith('/')

/** The contexts of the domain, lowest first: each may import those before it. */
const CONTEXTS = 'base audit accounts billing teams github deployments apps secrets privacy platform'.split(' ')
const contextOf = (path: string) => path.split('/')[2]!
const floorOf = (path: string) => CONTEXTS.indexOf(contextOf(path))

/** The domain modules that a module may import: its own context, and those before. */
const isBelow = (from: string, target: string) =>
  target.startsWith('src/domain/') && floorOf(from) >= 0 && floorOf(target) >= 0 && floorOf(target) <= floorOf(from)

const ownFolder = (path: string) => `${path.split('/', 2).join('/')}/`

/** The allowed imports of a module, by its location. */
const rules: Record<string, (found: Import) => boolean> = {
  'schemas/': ({ target, from }) => target === '@sinclair/typebox' || dirname(target) === dirname(from),
  'plugins/lib/': ({ target }) => isNpmOrNode(target) || target.startsWith('plugins/lib/'),
  'drizzle/': ({ target }) => isNpmOrNode(target) || target.startsWith('drizzle/'),
  'views/': ({ target, typeOnly }) =>
    isNpmOrNode(target) ||
    target.startsWith('views/') ||
    /^plugins\/lib\/(html|notice-page)\.ts$/.test(target) ||
    (typeOnly && /^(src\/domain|schemas)\//.test(target)),
  'integrations/': ({ from, target, typeOnly }) =>
    isNpmOrNode(target) ||
    target.startsWith('plugins/lib/') ||
    (from.split('/').length > 2 && target.startsWith(ownFolder(from))) ||
    (typeOnly && target.startsWith('plugins/')),
  'plugins/': ({ from, target }) =>
    isNpmOrNode(target) ||
    target.startsWith('plugins/lib/') ||
    (from.split('/').length > 2 && target.startsWith(ownFolder(from))),
  'src/domain/': ({ from, target }) =>
    isNpmOrNode(target) ||
    isBelow(from, target) ||
    target === 'drizzle/schema.ts' ||
    /^plugins\/lib\/(errors|git-url|instant|source-archive|token)\.ts$/.test(target),
  'src/workflows/': ({ target, typeOnly }) =>
    isNpmOrNode(target) ||
    /^(src\/(workflows|domain|kernel)|plugins\/lib)\//.test(target) ||
    target === 'drizzle/schema.ts' ||
    /^(integrations\/[a-z-]+|plugins\/jobs)\/(index|port)\.ts$/.test(target) ||
    (typeOnly && /^(plugins|integrations|src\/config)\//.test(target)),
  'src/kernel/': ({ target, typeOnly }) =>
    isNpmOrNode(target) ||
    /^(src\/kernel|plugins\/lib)\//.test(target) ||
    (typeOnly && /^(plugins|src\/config)\//.test(target)),
  'src/config/': ({ target, typeOnly }) =>
    isNpmOrNode(target) ||
    /^(src\/config|plugins\/lib)\//.test(target) ||
    ['package.json', 'plugins/rate-limit/rate.ts', 'plugins/redis/target.ts'].includes(target) ||
    (typeOnly && (target === 'drizzle/schema.ts' || target.startsWith('src/domain/'))),
  'routes/': ({ target, typeOnly }) =>
    isNpmOrNode(target) ||
    /^(routes|schemas|views|src\/domain)\//.test(target) ||
    /^plugins\/lib\/(address|cookies|errors|negotiate|notice-page|violations)\.ts$/.test(target) ||
    (typeOnly && (/^(plugins|integrations)\//.test(target) || target === 'drizzle/schema.ts'))
}

function breaks(found: Import): boolean {
  const area = Object.keys(rules).find(prefix => found.from.startsWith(prefix))
  if (area !== undefined && !rules[area]!(found)) return true
  const isEdge = found.target === 'src/server.ts' || found.target === 'src/cli.ts'
  return isEdge && !(found.from.startsWith('src/cli/') && found.target === 'src/server.ts')
}

test('every module imports only what its place allows', async () => {
  const broken: string[] = []
  for (const path of await sources())
    for (const found of importsOf(path, await read(path)))
      if (breaks(found)) broken.push(`${found.from} imports ${found.target}`)
  assert.deepEqual(broken, [])
})

test('the import rules catch violations', () => {
  const forbidden = [
    ['plugins/cors.ts', "import { buildApp } from '../src/app.ts'"],
    ['plugins/cors.ts', "import drain from './drain.ts'"],
    ['plugins/audit.ts', "import type { Db } from '../drizzle/schema.ts'"],
    ['plugins/audit.ts', "import { githubProvider } from '../integrations/github/sign-in.ts'"],
    ['integrations/github/api.ts', "import { run } from '../builder/sandbox.ts'"],
    ['integrations/github/api.ts', "import oauth from '../../plugins/oauth/index.ts'"],
    ['routes/api/apps.ts', "import errors from '../../plugins/errors/index.ts'"],
    ['src/domain/apps/apps.ts', "import { loadConfig } from '../../config/index.ts'"],
    ['src/domain/teams/teams.ts', "import { listApps } from '../apps/apps.ts'"],
    ['src/workflows/deploying/watch.ts', "import { http } from '../../wiring/http.ts'"],
    ['src/kernel/part.ts', "import { loadConfig } from '../config/index.ts'"],
    ['src/config/data.ts', "import { findUser } from '../domain/accounts/users.ts'"],
    ['views/sign-in.ts', "import { findUser } from '../src/domain/accounts/users.ts'"],
    ['drizzle/migrate.ts', "import { postgresTarget } from '../plugins/lib/postgres.ts'"],
    ['schemas/apps.ts', "import { ROLES } from '../drizzle/schema.ts'"],
    ['src/app.ts', "import './server.ts'"]
  ] as const
  for (const [path, source] of forbidden)
    assert.ok(importsOf(path, source).some(breaks), `${path} may not say ${source}`)
})

test('no import cycles exist, not even of types', async () => {
  const imports = (await Promise.all((await sources()).map(async path => importsOf(path, await read(path))))).flat()
  assert.deepEqual(circlesOf(imports), [])
})

test('import cycles are detected', () => {
  const among = (...lines: [string, string][]) => circlesOf(lines.flatMap(([path, source]) => importsOf(path, source)))
  assert.deepEqual(among(['src/a.ts', "import './b.ts'"], ['src/b.ts', "import type { A } from './a.ts'"]), [
    'src/a.ts -> src/b.ts -> src/a.ts'
  ])
  assert.deepEqual(
    among(
      ['src/a.ts', "import './b.ts'\nimport './c.ts'"],
      ['src/b.ts', "export * from './c.ts'"],
      ['src/c.ts', "await import('./d.ts')"],
      ['src/d.ts', "import { b } from './b.ts'"]
    ),
    ['src/b.ts -> src/c.ts -> src/d.ts -> src/b.ts']
  )
})

/** One cycle for each import that closes one, found depth first. */
function circlesOf(imports: readonly Import[]): string[] {
  const targets = Map.groupBy(imports, ({ from }) => from)
  const circles: string[] = []
  const done = new Set<string>()
  const visit = (path: string, above: readonly string[]): void => {
    if (above.includes(path)) circles.push([...above.slice(above.indexOf(path)), path].join(' -> '))
    if (done.has(path) || above.includes(path)) return
    for (const { target } of targets.get(path) ?? []) if (target !== path) visit(target, [...above, path])
    done.add(path)
  }
  for (const path of targets.keys()) visit(path, [])
  return circles
}

test('each file of plugins/lib is used by several plugins, or by a plugin and the rest of the server', async () => {
  const paths = await sources()
  const imports = (await Promise.all(paths.map(async path => importsOf(path, await read(path))))).flat()
  const usersOf = (path: string): string[] =>
    imports
      .filter(({ target }) => target === path)
      .flatMap(({ from }) => (from.startsWith('plugins/lib/') ? usersOf(from) : [userOf(from)]))

  for (const path of await find('plugins/lib/*.ts')) {
    const users = new Set(usersOf(path))
    assert.ok(users.size > 1, `${path} serves ${[...users]} alone and could stand there`)
  }
})

/** A plugin, whether file or folder; the rest of the server by its folder. */
function userOf(path: string): string {
  const [folder = '', name = ''] = path.split('/')
  return folder === 'plugins' || folder === 'integrations' ? `${folder}/${name}` : folder
}

test('only the configuration reads the environment of the process', async () => {
  for (const path of await sources())
    if (path !== 'src/config/source.ts') assert.doesNotMatch(await read(path), /process\.env\b/, path)
})

test("a start does not load Node's client for fetch: nothing imports values of node:http, which has it among its exports", async () => {
  for (const path of await sources())
    assert.doesNotMatch(await read(path), /^(?:import|export) (?!type )[^;']*from 'node:http'$/m, path)
})

test('only the process entry points call exit', async () => {
  const entryPoints = ['src/server-process.ts', 'src/cli.ts']
  for (const path of await sources())
    if (!entryPoints.includes(path)) assert.doesNotMatch(await read(path), /process\.exit\(/, path)
})

test('the kernel stays within its line limit, even with ten more slots', async () => {
  const lines = (await Promise.all(['src/app.ts', 'src/slots.ts'].map(read))).join('').split('\n').length
  const linesPerSlot = 2 // an import and a row
  assert.ok(lines + 10 * linesPerSlot < 300, `src/app.ts and src/slots.ts have ${lines} lines together`)
})

const pluginFiles = () => find('plugins/*.ts', '{plugins,integrations}/*/index.ts')
const pluginName = (path: string) => (basename(path) === 'index.ts' ? basename(dirname(path)) : basename(path, '.ts'))

test('every plugin has a test of its own and a row in the table', async () => {
  const table = (await Promise.all(['plugins/README.md', 'integrations/README.md'].map(read))).join('\n')
  const overview = await read('README.md')
  const tests = (await find('test/{plugins,integrations}/*.test.ts')).map(path => basename(path, '.test.ts'))
  for (const name of (await pluginFiles()).map(pluginName)) {
    assert.ok(tests.includes(name), `${name} has no test`)
    assert.match(table, new RegExp(`^\\| \\[?\`?${name}\\b`, 'm'), `${name} has no row in plugins/README.md`)
    assert.match(overview, new RegExp(`^\\| \`${name}\` \\|`, 'm'), `${name} has no row in README.md`)
  }
})

test('no plugin file exceeds its line limit', async () => {
  for (const path of await pluginFiles()) {
    const lines = (await read(path)).split('\n').length
    assert.ok(lines <= 201, `${path} has ${lines} lines: which port wants out?`)
  }
})

test('the example environment lists exactly the variables that are read', async () => {
  const { Environment } = await import('../src/config/index.ts')
  const listed = [...(await read('.env.example')).matchAll(/^#? ?([A-Z][A-Z0-9_]*)=/gm)].map(([, name]) => name)
  assert.deepEqual(listed.sort(), Object.keys(Environment.properties).sort())
})

test('every dependency is pinned to an exact version', async () => {
  const manifest = JSON.parse(await read('package.json'))
  for (const group of ['dependencies', 'devDependencies', 'optionalDependencies'])
    for (const [name, version] of Object.entries(manifest[group])) assert.match(String(version), /^\d/, name)
})

test('the documents name only files and scripts that exist', async () => {
  const { scripts } = JSON.parse(await read('package.json'))
  const documents = await find('*.md', 'docs/**/*.md', '{plugins,integrations}/README.md')
  const here = new Set(await find('**/*.{ts,md,toml,json,yml,example,sql,svg,png}', '.env.example', 'Dockerfile'))
  for (const document of documents) {
    const source = await read(document)
    for (const [, script] of source.matchAll(/npm run ([a-z][a-z:-]*)/g))
      assert.ok(script! in scripts, `${document} names npm run ${script}`)
    for (const [, target] of source.matchAll(/\]\((?!https?:|#|mailto:)([^)#\s]+)/g)) {
      const path = relative(root, resolve(root, dirname(document), target!))
      assert.ok(
        here.has(path) || [...here].some(file => file.startsWith(`${path}/`)) || path === 'LICENSE',
        `${document} links to ${target}`
      )
    }
  }
})

/** Tests in which real time passes, with the reason. All others await an event, move a clock, or use test/support. */
const SLEEPS: Record<string, string> = {
  'test/support/eventually.ts': 'the pause between two questions',
  'test/support/stays.ts': 'the pause between two questions',
  'test/support/repeatedly.ts': 'the pause between two rounds',
  'test/fakes/fly/server.ts': 'a call that waits for a state',
  'test/fakes/github/server.ts': 'a service that is slow to answer',
  'test/slow/backup-memory.test.ts': 'a storage that is slow to answer',
  'test/slow/crashes.test.ts': 'moments of a crash, drawn at random',
  'test/slow/deployer-local-runner.test.ts': 'moments of an end that is nowhere announced',
  'test/plugins/logging.test.ts': 'a reader that is slow for longer than a stuck one is waited for'
}

test('no test sleeps for a fixed time', async () => {
  const sleep =
    /import \{[^}]*\bsetTimeout\b[^}]*\} from '(node:)?timers\/promises'|new Promise\b[^;]{0,60}=> setTimeout\(/
  const found: string[] = []
  for (const path of await find('test/**/*.ts')) if (sleep.test(await read(path))) found.push(path)
  assert.deepEqual(
    found.filter(path => !(path in SLEEPS)),
    [],
    'use eventually(), stays() or repeatedly() of test/support, or move a clock with setAhead()'
  )
  assert.deepEqual(Object.keys(SLEEPS).sort(), found, 'list no file that does not sleep')
})
