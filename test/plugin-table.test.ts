import assert from 'node:assert/strict'
import { glob, readFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { test } from 'node:test'
import { pathToFileURL } from 'node:url'
import type { TObject } from '@sinclair/typebox'
import { modulesFrom } from '../scripts/modules-from.ts'
import { slots } from '../src/slots.ts'

const ROOT = join(import.meta.dirname, '..')

interface Unit {
  readonly name: string
  readonly entry: string
  /** All files of the plugin. */
  readonly source: string
}

async function units(): Promise<Unit[]> {
  const found: Unit[] = []
  for await (const file of glob(['plugins/*.ts', '{plugins,integrations}/*/index.ts'], { cwd: ROOT })) {
    if (file.startsWith('plugins/lib/')) continue
    const isFolder = basename(file) === 'index.ts'
    const parts: string[] = []
    for await (const part of glob(isFolder ? `${dirname(file)}/*.ts` : file, { cwd: ROOT }))
      parts.push(await readFile(join(ROOT, part), 'utf8'))
    const name = isFolder ? basename(dirname(file)) : basename(file, '.ts')
    found.push({ name, entry: join(ROOT, file), source: parts.join('\n') })
  }
  return found
}

const tables = ['plugins/README.md', 'integrations/README.md'].map(path => readFile(join(ROOT, path), 'utf8'))
const table = (await Promise.all(tables)).join('\n')

/** The cells of a plugin's row. */
function rowOf(name: string): Record<'decorates' | 'uses' | 'hooks' | 'config' | 'metrics' | 'options', string> {
  const row = table.split('\n').find(line => line.startsWith(`| [${name}]`))
  assert.ok(row, `${name} has no row`)
  const [, , decorates = '', uses = '', hooks = '', config = '', metrics = '', options = ''] = row.split('|')
  return { decorates, uses, hooks, config, metrics, options }
}

const named = (cell: string) => [...cell.matchAll(/`([^`]+)`/g)].map(([, name]) => name!).sort()
const matches = (source: string, pattern: RegExp) => [
  ...new Set([...source.matchAll(pattern)].map(([, name]) => name!))
]

test('the table lists all options of every plugin, and no others', async () => {
  for (const { name, entry } of await units()) {
    const module = await import(pathToFileURL(entry).href)
    const schema = Object.entries(module).find(([key]) => key.endsWith('Options'))?.[1] as TObject
    assert.deepEqual(named(rowOf(name).options), Object.keys(schema.properties).sort(), name)
  }
})

test('the table lists the decorators of every plugin', async () => {
  for (const { name, source } of await units()) {
    const app = matches(source, /\.decorate(?:<\w+>)?\(\s*'(\w+)'/g).map(decorator => `app.${decorator}`)
    const request = matches(source, /\.decorateRequest\(\s*'(\w+)'/g).map(decorator => `request.${decorator}`)
    const listed = named(rowOf(name).decorates).filter(decorator => decorator !== 'app.swagger')
    assert.deepEqual(listed, [...app, ...request].sort(), name)
  }
})

test('the table lists the hooks of every plugin, and the decorators that it uses', async () => {
  for (const { name, source } of await units()) {
    const { decorates, uses, hooks } = rowOf(name)
    for (const hook of matches(source, /\.addHook\(\s*'(\w+)'/g)) assert.match(hooks, new RegExp(`\\b${hook}\\b`), name)
    for (const decorator of matches(source, /\.hasDecorator\('(\w+)'\)/g))
      assert.ok(`${decorates}${uses}`.includes(`\`app.${decorator}\``), `${name}: app.${decorator}`)
  }
})

test('the table lists the metrics and the route config of every plugin', async () => {
  for (const { name, source } of await units()) {
    const row = rowOf(name)
    for (const metric of matches(source, /name: '(rhone_\w+)'/g))
      assert.ok(row.metrics.includes(`\`${metric}\``), metric)
    const [, keys = ''] = /interface FastifyContextConfig \{(.*?)\n {2}\}/s.exec(source) ?? []
    for (const key of matches(keys, /^ {4}(\w+)\?:/gm)) assert.ok(row.config.includes(`\`${key}\``), `${name}: ${key}`)
  }
})

/** Without the integrations. */
const pluginUnits = async () => (await units()).filter(({ entry }) => entry.startsWith(join(ROOT, 'plugins')))

/** Packages that every plugin may import, and the one that plugins with metrics use with a registry. */
const USUAL = ['@sinclair/typebox', 'cookie', 'fastify', 'fastify-plugin', 'find-my-way', 'lru-cache', 'pino']
const OF_REGISTRY = '@platformatic/prom-client'

test('the table lists the additional packages that a plugin needs', async () => {
  for (const { name, entry } of await pluginUnits()) {
    const { packages } = await modulesFrom([entry])
    const needed = [...packages].filter(
      needed => !USUAL.includes(needed) && (needed !== OF_REGISTRY || name === 'metrics')
    )
    const [, listed = ''] = /packages? ((?:`[^`]+` ?)+)/.exec(rowOf(name).uses) ?? []
    assert.deepEqual(named(listed), needed.sort(), name)
  }
})

test('the recommended order is the order of this server', async () => {
  const plugins = (await pluginUnits()).map(({ name }) => name)
  const [, section = ''] = /\n## Order\n(.*?)\nA plugin applies/s.exec(table) ?? []
  const recommended = [...section.matchAll(/`([a-z-]+)`/g)].map(([, name]) => name!)
  const ours = slots.map(({ name }) => (name === 'rate-limit-user' ? 'rate-limit' : name))
  assert.deepEqual(
    recommended,
    ours.filter(name => plugins.includes(name))
  )
})

test('no plugin declares a dependency on another plugin', async () => {
  const metaOf = async (entry: string) => {
    const { default: plugin } = await import(pathToFileURL(entry).href)
    return plugin[Symbol.for('plugin-meta')] as { decorators?: object; dependencies?: object }
  }
  for (const { name, entry } of await pluginUnits()) {
    const { decorators, dependencies } = await metaOf(entry)
    assert.deepEqual([decorators, dependencies], [undefined, undefined], `${name}: the document says otherwise`)
  }
  const deploying = await metaOf(join(ROOT, 'src/workflows/deploying/index.ts'))
  assert.deepEqual(deploying.decorators, { fastify: ['db', 'postgres'] })
})
