import assert from 'node:assert/strict'
import { glob } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { test } from 'node:test'
import { pathToFileURL } from 'node:url'
import Fastify, { type FastifyInstance, type FastifyPluginAsync } from 'fastify'

const root = resolve(import.meta.dirname, '..')
const kPluginMeta = Symbol.for('plugin-meta')

interface PluginMeta {
  readonly decorators?: { readonly fastify?: readonly string[]; readonly request?: readonly string[] }
}

/** Required options of plugins. */
const NEEDS: Readonly<Record<string, object>> = {
  database: { url: 'postgres://rhone:none@127.0.0.1:1/rhone' },
  redis: { url: 'redis://127.0.0.1:1' }
}

const paths = (await Array.fromAsync(glob(['plugins/*.ts', '{plugins,integrations}/*/index.ts'], { cwd: root })))
  .filter(path => !path.startsWith('plugins/lib/'))
  .sort()
const nameOf = (path: string) => (basename(path) === 'index.ts' ? basename(dirname(path)) : basename(path, '.ts'))

/** The reply of a route, without varying parts. */
async function answerOf(app: FastifyInstance, url: string) {
  const { statusCode, headers, body } = await app.inject({ url, headers: { origin: 'https://elsewhere.example' } })
  const { date: _, ...lasting } = headers
  return { statusCode, headers: lasting, body }
}

function outside(app: FastifyInstance): void {
  app.get('/outside', () => ({ ok: true }))
  app.get('/broken', () => {
    throw new Error('broken')
  })
}

const bare = Fastify()
outside(bare)
const plain = [await answerOf(bare, '/outside'), await answerOf(bare, '/broken'), await answerOf(bare, '/nowhere')]
await bare.close()

for (const path of paths) {
  const name = nameOf(path)
  test(`${name}, in a scope of its own, does not affect routes outside its scope`, async t => {
    const { default: plugin } = (await import(pathToFileURL(join(root, path)).href)) as {
      default: FastifyPluginAsync<object> & { [kPluginMeta]: PluginMeta }
    }
    const app = Fastify()
    t.after(() => app.close())
    outside(app)
    const inScope: FastifyPluginAsync = async scope => {
      const { fastify = [], request = [] } = plugin[kPluginMeta].decorators ?? {}
      for (const needed of fastify) scope.decorate(needed, {})
      for (const needed of request) scope.decorateRequest(needed)
      await scope.register(plugin, NEEDS[name] ?? {})
      scope.get('/inside', () => ({ ok: true }))
    }
    // Not-found handlers belong to a prefix.
    await app.register(inScope, { prefix: '/scope' })
    await app.ready()
    const found = [await answerOf(app, '/outside'), await answerOf(app, '/broken'), await answerOf(app, '/nowhere')]
    assert.deepEqual(found, plain)
  })
}
