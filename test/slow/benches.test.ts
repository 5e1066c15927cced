import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { promisify } from 'node:util'
import { measurements } from '../../bench/measurements.ts'
import { scenarios } from '../../bench/scenarios.ts'

const ROOT = join(import.meta.dirname, '../..')

/** Short runs, with the column that names each row. The figures are not checked, because machines differ. */
const SHORT: Readonly<Record<string, { readonly args: readonly string[]; readonly rows: readonly string[] }>> = {
  parts: { args: ['--rounds=1'], rows: ['bare Fastify', 'every concern', 'logging', 'rate-limit'] },
  plugins: { args: ['--rounds=1'], rows: ['bare Fastify', 'logging', 'pressure', 'rate-limit'] },
  computing: {
    args: ['only/2', '--seconds=1'],
    rows: ['peak', '1.25 times', '10 times', 'closed loop, 1000', 'peak after']
  }
}

/** Measurements that are not run here, with the reason. */
const LEFT_OUT: Readonly<Record<string, string>> = {
  overload: 'is like `computing` with a database, which pressure-admission.test.ts tests on a simulated server',
  scaling: 'needs cores for two workers, a proxy and a client; workers.test.ts tests their behaviour',
  memory: 'sends two million requests',
  builds: 'downloads packages from a registry; builder-reuse.test.ts has its own registry',
  pages: 'requests fifty pages a few hundred times each',
  slo: 'measures for minutes, on one core that nobody else uses',
  backup: 'fills a database for minutes; the tests of backups have small ones',
  report: 'writes a document'
}

const results = await mkdtemp(join(tmpdir(), 'rhone-benches-'))
after(() => rm(results, { recursive: true, force: true }))

test('every measurement is run by a test, or has a reason why not, and is documented', async () => {
  const known = [...Object.keys(SHORT), ...Object.keys(LEFT_OUT)].sort()
  assert.deepEqual(known, Object.keys(measurements).sort())
  const document = await readFile(join(ROOT, 'docs/performance.md'), 'utf8')
  for (const name of known) assert.ok(document.includes(`npm run bench -- ${name}`), name)
})

test('figures in the document belong to existing measurements', async () => {
  const document = await readFile(join(ROOT, 'docs/performance.md'), 'utf8')
  const [, figures = ''] = /<!-- figures:.*?-->(.*)<!-- end of figures -->/s.exec(document) ?? []
  const names = [...figures.matchAll(/^### (\S+)$/gm)].map(([, name]) => name!)
  const rows = [...(figures.split('###')[0] ?? '').matchAll(/^\| (\w+) \|/gm)].map(([, name]) => name!)
  const known = [...Object.keys(measurements), ...scenarios.map(({ name }) => name), 'peers', 'scenario']
  assert.deepEqual(
    [...names, ...rows].filter(name => !known.includes(name)),
    []
  )
})

for (const [name, { args, rows }] of Object.entries(SHORT))
  test(`the measurement ${name} runs, and has a row for each of its subjects`, {
    timeout: 200_000
  }, async () => {
    await promisify(execFile)(process.execPath, ['bench/run.ts', name, ...args], {
      cwd: ROOT,
      env: { ...process.env, BENCH_RESULTS: results }
    })
    const { facts } = JSON.parse(await readFile(join(results, `${name}.json`), 'utf8'))
    const found = (facts.rows as Record<string, string | number>[]).flatMap(row => Object.values(row))
    for (const row of rows) assert.ok(found.includes(row), `${row} in ${JSON.stringify(found)}`)
  })
