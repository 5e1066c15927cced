/**
 * Builds `dist-plugins/` from `dist/`: the package `rhone-plugins`, for apps that use some of the plugins but not the
 * server. It has the same files, except those that no plugin needs, and installs no package that only some plugins need.
 */
import { copyFile, cp, glob, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { modulesFrom } from './modules-from.ts'

const ROOT = join(import.meta.dirname, '..')
const BUILT = join(ROOT, 'dist/plugins')
const PACKAGE = join(ROOT, 'dist-plugins')

/** Packages that most plugins import. Users install the others themselves; a plugin that lacks one names it. */
const ALWAYS = ['@sinclair/typebox', 'cookie', 'fastify-plugin', 'find-my-way', 'lru-cache', 'pino']

interface Entry {
  /** The import specifier: `rhone-plugins/cors`. */
  readonly name: string
  /** Below `dist/plugins`, without its extension. */
  readonly path: string
}

/** All plugins, and all adapters that are imported separately. */
async function findEntries(): Promise<Entry[]> {
  const files = await Array.fromAsync(glob(['*.js', '*/index.js', '*/*-postgres.js'], { cwd: BUILT }))
  return files
    .filter(file => !file.startsWith('lib/'))
    .map(file => file.slice(0, -'.js'.length))
    .map(path => ({ path, name: basename(path) === 'index' ? dirname(path) : path }))
    .sort((a, b) => (a.name < b.name ? -1 : 1))
}

async function copyModules(entries: readonly Entry[]): Promise<Set<string>> {
  const starts = entries.flatMap(({ path }) => [join(BUILT, `${path}.js`), join(BUILT, `${path}.d.ts`)])
  const { files, packages } = await modulesFrom(starts)
  for (const file of files) {
    const copy = join(PACKAGE, 'dist', file.slice(BUILT.length))
    await mkdir(dirname(copy), { recursive: true })
    await copyFile(file, copy)
  }
  return packages
}

function manifestOf(root: Record<string, never>, entries: readonly Entry[], packages: ReadonlySet<string>) {
  const { version, license, engines, optionalDependencies, ...rest } = root as unknown as Manifest
  const dependencies = { ...rest.dependencies, ...optionalDependencies }
  const rangesOf = (names: readonly string[]) => Object.fromEntries(names.map(name => [name, rangeOf(name)]))
  function rangeOf(name: string): string {
    if (dependencies[name] === undefined) throw new Error(`${name} is imported by a plugin, but is no dependency`)
    return `^${dependencies[name]}`
  }
  const optional = [...packages].filter(name => name !== 'fastify' && !ALWAYS.includes(name)).sort()
  return {
    name: 'rhone-plugins',
    version,
    description: 'Fastify plugins that harden a server for production, one concern each. Each works alone.',
    keywords: ['fastify', 'fastify-plugin', 'security', 'rate-limit', 'metrics', 'maintenance', 'idempotency', 'audit'],
    license,
    type: 'module',
    engines,
    exports: {
      ...Object.fromEntries(
        entries.map(({ name, path }) => [`./${name}`, { types: `./dist/${path}.d.ts`, default: `./dist/${path}.js` }])
      ),
      './package.json': './package.json'
    },
    files: ['dist', 'CHANGELOG.md'],
    dependencies: rangesOf(ALWAYS),
    peerDependencies: rangesOf(['fastify', ...optional]),
    peerDependenciesMeta: Object.fromEntries(optional.map(name => [name, { optional: true }]))
  }
}

interface Manifest {
  readonly version: string
  readonly license: string
  readonly engines: object
  readonly dependencies: Readonly<Record<string, string>>
  readonly optionalDependencies: Readonly<Record<string, string>>
}

/** The README links to sources in the repository, and to declarations in the package, which describe every option. */
const linkDeclarations = (readme: string) => readme.replace(/\]\(([\w/-]+)\.ts\)/g, '](dist/$1.d.ts)')

const entries = await findEntries()
await rm(PACKAGE, { recursive: true, force: true })
const packages = await copyModules(entries)
const manifest = manifestOf(JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8')), entries, packages)
await writeFile(join(PACKAGE, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`)
await writeFile(join(PACKAGE, 'README.md'), linkDeclarations(await readFile(join(ROOT, 'plugins/README.md'), 'utf8')))
for (const name of ['LICENSE', 'CHANGELOG.md']) await cp(join(ROOT, name), join(PACKAGE, name))
