import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { buildApp } from '../../src/app.ts'
import { loadConfig } from '../../src/config/index.ts'
import { collect, type Part } from '../../src/kernel/part.ts'
import { parts } from '../../src/wiring/parts/index.ts'
import { pager } from '../fixtures/workflows/pager.ts'
import { testConfig } from '../support/app.ts'
import { freshDatabase } from '../support/database.ts'

const FIXTURE = join(import.meta.dirname, '../fixtures/workflows/pager.ts')
const GUIDE = join(import.meta.dirname, '../../CONTRIBUTING.md')

test('a new workflow brings a queue, a chore, a health check and an error sink in one file', async t => {
  const pages = new EventTarget()
  const page = async (failures: number) => void pages.dispatchEvent(new CustomEvent('page', { detail: failures }))
  const config = await testConfig(t, { DATABASE_URL: await freshDatabase(t) })
  const app = await buildApp(config, {}, undefined, { parts: [...parts, pager(page, 1)] })
  t.after(() => app.close())
  app.get('/broken', { config: { access: 'public', slo: 'detail' } }, () => Promise.reject(new Error('boom')))
  await app.ready()
  await app.startup.completed

  const paged = once(pages, 'page')
  assert.equal((await app.inject('/broken')).statusCode, 500)
  const [{ detail }] = await paged
  assert.equal(detail, 1)

  const token = (await readFile(join(config.dataDir, 'operator-token'), 'utf8')).trim()
  const health = await app.inject({ url: '/health/detailed', headers: { authorization: `Bearer ${token}` } })
  assert.ok(['healthy', 'unhealthy'].includes(health.json().services.pager))
})

test('the guide contains that workflow unchanged, in under 40 lines', async () => {
  const shown = (await readFile(FIXTURE, 'utf8')).replace('../../../src/kernel/', '../../kernel/')
  assert.ok((await readFile(GUIDE, 'utf8')).includes(`\`\`\`ts\n${shown}\`\`\``))
  assert.ok(shown.split('\n').length < 40)
})

test('two parts cannot contribute something of the same name', () => {
  const chore = { name: 'sweep', every: 1, run: async () => {} }
  const twice: Part[] = [
    { name: 'first', chores: () => [chore] },
    { name: 'second', chores: () => [chore] }
  ]
  assert.throws(() => collect(twice, 'chores', loadConfig({}), {} as never), /two parts contribute "sweep" to chores/)
})
