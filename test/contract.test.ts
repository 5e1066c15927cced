import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { glob, readFile } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import type { TObject, TSchema } from '@sinclair/typebox'
import Fastify, { type FastifyInstance, type FastifyPluginAsync } from 'fastify'

const root = resolve(import.meta.dirname, '..')
const kPluginMeta = Symbol.for('plugin-meta')

interface PluginMeta {
  readonly name: string
  readonly fastify: string
  readonly decorators?: { fastify?: readonly string[]; request?: readonly string[] }
}

interface PluginModule {
  readonly default: FastifyPluginAsync<object> & { readonly [kPluginMeta]: PluginMeta }
  readonly [named: string]: unknown
}

/** Options of plugins that need another service; all others run without options. */
const NEEDS: Readonly<Record<string, object>> = {
  database: { url: 'postgres://rhone:none@127.0.0.1:1/rhone' },
  redis: { url: 'redis://127.0.0.1:1' }
}

const files = (await Array.fromAsync(glob(['plugins/*.ts', '{plugins,integrations}/*/index.ts'], { cwd: root })))
  .filter(path => !path.startsWith('plugins/lib/'))
  .sort()

const nameOf = (path: string) => (basename(path) === 'index.ts' ? basename(dirname(path)) : basename(path, '.ts'))
const load = (path: string): Promise<PluginModule> => import(pathToFileURL(join(root, path)).href)
const optionsName = (name: string) => `${name.split('-').map(capitalized).join('')}Options`
const capitalized = (word: string) => word.charAt(0).toUpperCase() + word.slice(1)

/** The source of all files of a plugin. */
async function sourceOf(path: string): Promise<string> {
  const parts =
    basename(path) === 'index.ts' ? await Array.fromAsync(glob(`${dirname(path)}/*.ts`, { cwd: root })) : [path]
  return (await Promise.all(parts.map(part => readFile(join(root, part), 'utf8')))).join('\n')
}

/** Stubs of the decorators that plugins need; nothing calls them here. */
function bareServer(meta: PluginMeta): FastifyInstance {
  const app = Fastify()
  for (const needed of meta.decorators?.fastify ?? []) app.decorate(needed, {})
  for (const needed of meta.decorators?.request ?? []) app.decorateRequest(needed)
  return app
}

test('all plugins are found', () => {
  assert.ok(files.length >= 15, `only ${files.length} plugins found`)
})

for (const path of files) {
  const name = nameOf(path)

  test(`${name} keeps the plugin contract`, async t => {
    const module = await load(path)
    const plugin = module.default
    const meta = plugin[kPluginMeta]
    const schema = module[optionsName(name)] as TObject

    await t.test('it is named after its file and declares its Fastify version', () => {
      assert.equal(meta.name, `rhone-${name}`)
      assert.equal(meta.fastify, '5.x')
    })

    await t.test(
      'it exports a strict options schema with a description on every key, and a default or a null meaning',
      () => {
        assert.equal(schema.type, 'object', `${optionsName(name)} is missing`)
        assert.equal(schema.additionalProperties, false)
        for (const [key, option] of Object.entries<TSchema>(schema.properties)) {
          assert.ok(option.description, `${key} has no description`)
          const required = schema.required?.includes(key) ?? false
          assert.ok('default' in option || !required, `${key} has no default`)
        }
      }
    )

    await t.test('it works with frozen options, and twice in one process', async () => {
      const options = Object.freeze({ ...NEEDS[name] })
      const apps = await Promise.all(
        [1, 2].map(async () => {
          const app = bareServer(meta)
          await app.register(plugin, options)
          app.get('/toy', async () => ({ toy: true }))
          await app.ready()
          return app
        })
      )
      for (const app of apps) assert.ok((await app.inject('/toy')).statusCode < 500, 'the toy route answers')
      await Promise.all(apps.map(app => app.close()))
    })

    await t.test('an unknown option fails the boot with the names of plugin and key', async () => {
      const options = { ...NEEDS[name], noSuchOption: 1 }
      await assert.rejects(
        async () => bareServer(meta).register(plugin, options),
        (error: Error) => {
          assert.match(error.message, new RegExp(`rhone-${name}.*noSuchOption`))
          return true
        }
      )
    })

    const source = await sourceOf(path)

    await t.test('its hot hooks are in callback form', () => {
      assert.doesNotMatch(
        source,
        /addHook\(\s*'(onRequest|preParsing|preValidation|preHandler|onSend|onResponse)',\s*async/
      )
      assert.doesNotMatch(source, /\.routeOptions\b/, 'routeConfig(request) is the cheap way to a route’s config')
    })

    await t.test('it keeps no state at module level', () => {
      assert.doesNotMatch(source, /^(let|var) /m)
      assert.doesNotMatch(source, /^const \w+ = new (Map|Set|WeakMap|WeakSet)\b/m)
    })
  })
}

test('closing leaves nothing that keeps the process alive', async () => {
  const script = `
    import Fastify from 'fastify'
    const needs = ${JSON.stringify(NEEDS)}
    for (const [name, path] of ${JSON.stringify(files.map(path => [nameOf(path), pathToFileURL(join(root, path)).href]))}) {
      const { default: plugin } = await import(path)
      const app = Fastify()
      const meta = plugin[Symbol.for('plugin-meta')]
      for (const needed of meta.decorators?.fastify ?? []) app.decorate(needed, {})
      for (const needed of meta.decorators?.request ?? []) app.decorateRequest(needed)
      await app.register(plugin, needs[name] ?? {})
      await app.ready()
      await app.close()
    }
    console.log('closed')
  `
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', script], {
    cwd: root,
    timeout: 60_000
  })
  assert.match(stdout, /closed\n$/)
})
