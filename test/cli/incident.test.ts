import assert from 'node:assert/strict'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it, type TestContext } from 'node:test'
import type { FastifyInstance } from 'fastify'
import type { Variables } from '../../src/config/index.ts'
import { testApp } from '../support/app.ts'
import { eventually } from '../support/eventually.ts'
import { rhone } from '../support/rhone.ts'

const releases: (() => Promise<unknown>)[] = []
const scope = { after: (release: () => Promise<unknown>) => void releases.unshift(release) }
let app: FastifyInstance
let env: Variables

before(async () => {
  const server = await testApp(scope as unknown as TestContext, {}, { pressure: false })
  app = server.app
  env = { RHONE_URL: await app.listen({ host: '127.0.0.1', port: 0 }), RHONE_TOKEN: server.token }
})
after(async () => {
  for (const release of releases) await release()
})

async function directory(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'rhone-status-'))
  t.after(() => rm(path, { recursive: true, force: true }))
  return join(path, 'status')
}

describe('rhone incident', () => {
  it('opens, updates and closes an incident, and names missing arguments', async () => {
    const opened = await rhone(
      [
        'incident',
        'open',
        'Builds | hang',
        '--severity',
        'high',
        '--component',
        'api',
        '--message',
        'We look.',
        '--json'
      ],
      env
    )
    assert.equal(opened.code, 0, opened.stderr)
    const { id } = JSON.parse(opened.stdout)
    assert.match(opened.stderr, /TEMPLATE\.md/)
    assert.match((await rhone(['incident', 'update', id, 'We know.'], env)).stdout, /^last update +We know\.$/m)
    assert.match((await rhone(['incident', 'close', id, '--message', 'Over.'], env)).stdout, /^closed +20/m)
    assert.equal((await rhone(['incident', 'close', id], env)).code, 0, 'again')
    assert.match((await rhone(['incident', 'list'], env)).stdout, new RegExp(`^${id}  high .*Builds`, 'm'))
    const wrong = await rhone(['incident', 'open', 'X', '--severity', 'huge'], env)
    assert.deepEqual([wrong.code, wrong.stdout], [2, ''])
    assert.match(wrong.stderr, /must be one of critical, high, medium, low/)
    assert.equal((await rhone(['incident', 'open', 'X', '--severity', 'low', '--component', 'y'], env)).code, 1)
  })

  it('drafts a review from the template, with the published updates', async () => {
    const { id } = JSON.parse(
      (await rhone(['incident', 'open', 'Logins fail', '--severity', 'high', '--message', 'We\nlook.', '--json'], env))
        .stdout
    )
    const { stdout } = await rhone(['incident', 'review', id], env)
    const template = await readFile(join(import.meta.dirname, '../../docs/incidents/TEMPLATE.md'), 'utf8')
    const headingsOf = (text: string) => [...text.matchAll(/^(?:## .+|\| [A-Z][^|]+\|)/gm)].map(([line]) => line)
    assert.deepEqual(headingsOf(stdout), headingsOf(template))
    assert.match(stdout, /^# Incident: Logins fail$/m)
    assert.match(stdout, /\| 20\d\d-\d\d-\d\d \d\d:\d\d \| users informed: We look\. \|/)
    await rhone(['incident', 'close', id], env)
  })
})

describe('rhone status render', () => {
  it('writes the page and its data, to be served elsewhere', async t => {
    const out = await directory(t)
    const done = await rhone(['status', 'render', '--out', out], env)
    assert.equal(done.code, 0, done.stderr)
    assert.deepEqual((await readdir(out)).toSorted(), ['index.html', 'status.json'])
    assert.match(await readFile(join(out, 'index.html'), 'utf8'), /<h1>.*<\/h1>.*API and dashboard/s)
    const data = JSON.parse(await readFile(join(out, 'status.json'), 'utf8'))
    assert.equal(data.components[0].days.length, 30)
  })

  it('reports that the server cannot be reached, keeps the known history, and can show a notice without a server', async t => {
    const out = await directory(t)
    await rhone(['incident', 'open', 'Known before', '--severity', 'low'], env)
    await eventually(() => app.status.report().incidents.some(({ title }) => title === 'Known before'))
    await rhone(['status', 'render', '--out', out], env)
    const gone = { ...env, RHONE_URL: 'http://127.0.0.1:1' }
    const done = await rhone(['status', 'render', '--out', out, '--notice', 'We <move>.', '--json'], gone)
    assert.equal(done.code, 1)
    assert.match(JSON.parse(done.stdout).problem, /cannot be reached/)
    const page = await readFile(join(out, 'index.html'), 'utf8')
    assert.match(page, /<h1>We &lt;move&gt;\.<\/h1>/)
    assert.match(page, /The server cannot be reached\./)
    assert.match(page, /Known before/)
    assert.equal(JSON.parse(await readFile(join(out, 'status.json'), 'utf8')).status, 'outage')

    const first = await directory(t)
    assert.equal((await rhone(['status', 'render', '--out', first], gone)).code, 1)
    assert.match(await readFile(join(first, 'index.html'), 'utf8'), /API and dashboard/)
    assert.equal((await rhone(['status', 'render'], env)).code, 2)
  })
})
