import assert from 'node:assert/strict'
import { glob, readFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { test } from 'node:test'
import Fastify, { type FastifyInstance } from 'fastify'
import health from '../plugins/health/index.ts'
import type { Authorize } from '../plugins/lib/authorize.ts'
import maintenance from '../plugins/maintenance/index.ts'

const ROOT = join(import.meta.dirname, '..')

/** Every plugin with the option `authorize`: how to register it, and whether it admitted a request. */
const GUARDED: Readonly<
  Record<string, (app: FastifyInstance, authorize?: Authorize) => Promise<() => Promise<boolean>>>
> = {
  async health(app, authorize) {
    await app.register(health, { version: '1.2.3', ...(authorize && { authorize }) })
    return async () => 'version' in (await app.inject('/health/detailed')).json()
  },
  async maintenance(app, authorize) {
    await app.register(maintenance, { ...(authorize && { authorize }) })
    return async () => {
      const read = await app.inject('/admin/maintenance')
      const changed = await app.inject({ method: 'POST', url: '/admin/maintenance', payload: { enabled: true } })
      assert.equal(read.statusCode === 200, changed.statusCode === 200, 'both routes are guarded alike')
      return changed.statusCode === 200
    }
  }
}

/** Values passed as a predicate by mistake, and failing predicates. */
const REFUSING: Readonly<Record<string, unknown>> = {
  false: () => false,
  'a promise of false': async () => false,
  nothing: () => undefined,
  null: () => null,
  'a text': () => 'false',
  'a number': () => 1,
  'an object': () => ({ allowed: false }),
  'a promise of a text': async () => 'yes',
  'an exception': () => {
    throw new Error('the session store is away')
  },
  'a rejection': async () => {
    throw new Error('the session store is away')
  },
  'a hook of Fastify that calls on': (_request: unknown, _reply: unknown, next: () => void) => next(),
  'an asynchronous hook of Fastify': async (_request: unknown, _reply: unknown) => {},
  'no function': true
}

async function isOpen(name: string, authorize?: unknown): Promise<boolean> {
  const app = Fastify()
  try {
    const passes = await GUARDED[name]!(app, authorize as Authorize | undefined)
    return await passes()
  } finally {
    await app.close()
  }
}

/** The files of the plugins, by the plugin's name. */
async function sources(): Promise<[name: string, source: string][]> {
  const files = await Array.fromAsync(glob(['plugins/*.ts', '{plugins,integrations}/*/*.ts'], { cwd: ROOT }))
  return Promise.all(
    files
      .filter(file => !file.startsWith('plugins/lib/'))
      .map(async file => {
        const folder = basename(dirname(file))
        const name = folder === 'plugins' ? basename(file, '.ts') : folder
        return [name, await readFile(join(ROOT, file), 'utf8')] as [string, string]
      })
  )
}

test('every plugin with the option `authorize` is in this catalogue', async () => {
  const found = (await sources()).filter(([, source]) => /^\s+authorize\?:/m.test(source)).map(([name]) => name)
  assert.deepEqual([...new Set(found)].sort(), Object.keys(GUARDED).sort())
})

test('every plugin authorizes requests through `authorize`, with one type', async () => {
  for (const [name, source] of await sources()) {
    for (const [, type] of source.matchAll(/^\s+authorize\?: (.*)$/gm)) assert.equal(type, 'Authorize', name)
    const dependencies = [...source.matchAll(/^export interface \w+Deps \{(.*?)^\}/gms)].map(([, body]) => body!)
    for (const body of dependencies) {
      assert.doesNotMatch(body, /HookHandler/, `${name}: a hook as an option lets in whatever it does not refuse`)
      assert.doesNotMatch(body, /\(request: FastifyRequest\) => (Promise<)?boolean/, `${name}: use Authorize`)
    }
  }
})

for (const name of Object.keys(GUARDED)) {
  test(`${name} rejects everybody without \`authorize\``, async () => {
    assert.equal(await isOpen(name), false)
  })

  test(`${name} accepts callers that \`authorize\` accepts`, async () => {
    assert.equal(await isOpen(name, () => true), true)
    assert.equal(await isOpen(name, async () => true), true)
  })

  for (const [what, authorize] of Object.entries(REFUSING))
    test(`${name} stays closed when \`authorize\` is or returns ${what}`, async () => {
      assert.equal(await isOpen(name, authorize), false)
    })
}
