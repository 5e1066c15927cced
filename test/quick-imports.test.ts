import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { resolve } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'

const root = resolve(import.meta.dirname, '..')

/** Loads much of the server, and reports the modules that Node itself resolved. */
async function load(preloaded: readonly string[], env: Record<string, string> = {}) {
  const count = `
    import { registerHooks } from 'node:module'
    globalThis.looked = []
    registerHooks({ resolve: (name, context, next) => { looked.push(name); return next(name, context) } })`
  const main = `
    const { Environment } = await import('./src/config/index.ts')
    const { regions } = await import('./drizzle/schema.ts')
    console.log(JSON.stringify({ settings: Object.keys(Environment.properties).length > 30, regions: regions !== undefined, looked: looked.length }))`
  const imports = [`data:text/javascript,${encodeURIComponent(count)}`, ...preloaded.map(path => resolve(root, path))]
  const { stdout, stderr } = await promisify(execFile)(
    process.execPath,
    [...imports.flatMap(path => ['--import', path]), '--input-type=module', '--eval', main],
    { cwd: root, env: { PATH: process.env.PATH, ...env } }
  )
  return { ...(JSON.parse(stdout) as { settings: boolean; regions: boolean; looked: number }), stderr }
}

/** What loads without any of it. */
let plain: ReturnType<typeof load> | undefined
const loadPlain = () => (plain ??= load([]))

test('known modules are resolved without a search, to the same files', async () => {
  const quick = await load(['src/quick-imports.ts'])
  const plain = await loadPlain()
  assert.deepEqual([quick.settings, quick.regions, quick.stderr], [true, true, ''])
  assert.ok(quick.looked < plain.looked / 2, `${quick.looked} of ${plain.looked}`)
})

test('on a Node with other module internals, modules load the ordinary way, with a warning', async () => {
  const { settings, regions, stderr } = await load(['test/fixtures/another-node.ts', 'src/quick-imports.ts'])
  assert.deepEqual([settings, regions], [true, true])
  assert.match(stderr, /modules of ts load the slower standard way: .* is typescript-of-tomorrow/)
})

test('the environment can switch the shortcut off', async () => {
  const off = await load(['src/quick-imports.ts'], { RHONE_SHORTCUTS_OFF: 'heads, imports' })
  const plain = await loadPlain()
  assert.ok(off.looked >= plain.looked, `${off.looked} of ${plain.looked}`)
})
