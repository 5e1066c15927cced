import assert from 'node:assert/strict'
import { execFile, spawnSync } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { promisify } from 'node:util'
import Fastify from 'fastify'
import { prometheus } from '../../integrations/prometheus.ts'
import { panels } from '../../monitoring/panels.ts'
import { startReceiver } from '../../monitoring/receiver.ts'
import { type Stack, startStack } from '../../monitoring/stack.ts'
import operations from '../../plugins/operations/index.ts'
import { makeIdentity, recipientOf } from '../../src/workflows/backups/sealing.ts'
import { readRules } from '../monitoring/rule-files.ts'
import { freshDatabase } from '../support/database.ts'
import { eventually } from '../support/eventually.ts'
import { freePort } from '../support/free-port.ts'
import { type RunningServer, startServer } from '../support/process.ts'

const run = promisify(execFile)
const ROOT = join(import.meta.dirname, '../..')
const DOCUMENTS = ['docs/RUNBOOK.md', 'docs/OBSERVABILITY.md', 'docs/ON-CALL.md']
const METRICS_TOKEN = 'scrape-me-if-you-can'

const missing = ['prometheus', 'prometheus-alertmanager'].filter(name => spawnSync(name, ['--version']).error)
const skip = missing.length > 0 ? `there is no ${missing.join(' and no ')} on this machine` : false

const texts = await Promise.all(DOCUMENTS.map(file => readFile(join(ROOT, file), 'utf8')))
const blocks = (language: string) =>
  texts.flatMap(text =>
    [...text.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\`$`, 'gms'))].map(([, code]) => code!.trim())
  )

describe('documented queries and commands', { skip, timeout: 600_000 }, () => {
  const releases: (() => unknown)[] = []
  const scope = { after: (release: () => unknown) => void releases.unshift(release) }
  let server: RunningServer
  let stack: Stack
  let environment: Record<string, string>

  before(async () => {
    const directory = await mkdtemp(join(tmpdir(), 'rhone-documents-'))
    scope.after(() => rm(directory, { recursive: true, force: true }))
    const identity = await makeIdentity()
    await writeFile(join(directory, 'backup-key'), identity)
    environment = {
      DATABASE_URL: await freshDatabase(scope as never),
      DATA_DIR: join(directory, 'data'),
      METRICS_TOKEN,
      BACKUP_URL: `file://${join(directory, 'backups')}`,
      BACKUP_RECIPIENTS: await recipientOf(identity),
      BACKUP_IDENTITY_FILE: join(directory, 'backup-key')
    }
    // With load shedding, as shipped; other tests turn it off.
    server = await startServer(scope as never, { ...environment, RHONE_SWAP: '' })
    const receiver = await startReceiver(() => {})
    scope.after(() => receiver.close())
    stack = await startStack({
      target: server.url,
      token: METRICS_TOKEN,
      receiver: receiver.url,
      ports: { prometheus: await freePort(), alertmanager: await freePort() },
      directory: join(directory, 'stack'),
      interval: 1
    })
    scope.after(() => stack.stop())
  })
  after(async () => {
    for (const release of releases) await release()
  })

  async function ask(query: string): Promise<{ status: string; error?: string; data?: { result: unknown[] } }> {
    const reply = await fetch(`${stack.prometheus}/api/v1/query?${new URLSearchParams({ query })}`)
    return (await reply.json()) as never
  }

  it('is a valid query for Prometheus', async () => {
    const queries = blocks('promql')
    assert.ok(queries.length > 40)
    for (const query of queries) {
      const { status, error } = await ask(query)
      assert.equal(status, 'success', `${query}: ${error}`)
    }
  })

  it('is a command that works', async () => {
    const env = { ...process.env, ...environment, RHONE_URL: server.url, RHONE_TOKEN: server.token }
    await run('npm', ['run', '-s', 'rhone', '--', 'backup', 'create'], { cwd: ROOT, env })
    for (const script of new Set(blocks('sh').flatMap(block => block.split('\n'))))
      await run('bash', ['-euo', 'pipefail', '-c', script], { cwd: ROOT, env })
  })

  it('fills the operations page from Prometheus, panel by panel', async () => {
    const history = prometheus({ url: stack.prometheus })
    const app = Fastify()
    app.register(operations, { history, panels })
    await app.ready()
    // A chart has a value once a scrape precedes one of its steps.
    const hasData = ({ charts }: Awaited<ReturnType<typeof app.operations.report>>) =>
      charts.find(({ id }) => id === 'in-flight')?.data[1]?.some(value => value !== null)
    const report = await eventually(() => app.operations.report(3_600), hasData)
    await app.close()
    assert.deepEqual([report.source, report.fallback], ['history', null])
    assert.deepEqual(
      report.charts.map(({ id }) => id),
      panels.map(({ id }) => id)
    )
  })

  it('shows data on every panel of a server in use', async () => {
    const headers = { authorization: `Bearer ${server.token}`, 'content-type': 'application/json' }
    const use = async () => {
      await fetch(`${server.url}/api/v1/ping`)
      await fetch(`${server.url}/api/v1/regions`)
      await fetch(`${server.url}/api/v1/apps`, { headers })
    }
    const unanswered = await eventually(
      async () => {
        await use()
        const answers = await Promise.all(
          panels.map(async ({ id, query }) => [id, await ask(query.replaceAll('$__rate_interval', '30s'))] as const)
        )
        return answers.filter(([, { data }]) => !data?.result.length).map(([id]) => id)
      },
      ids => ids.length === 0,
      120_000
    )
    assert.deepEqual(unanswered, [])
  })
})

describe('the runbook', () => {
  it('has exactly one section per alert', async () => {
    const [runbook = ''] = texts
    const headings = [...runbook.matchAll(/^## (.+)$/gm)].map(([, name]) => name!)
    const alerts = (await readRules()).groups.flatMap(({ rules }) => rules.flatMap(({ alert }) => alert ?? []))
    assert.deepEqual(headings.toSorted(), alerts.toSorted())
  })

  it('has meaning, impact, diagnosis, mitigation and verification of each', () => {
    const [runbook = ''] = texts
    for (const section of runbook.split(/^## /m).slice(1))
      for (const part of ['Meaning', 'Impact', 'Diagnosis', 'Mitigation', 'Verify'])
        assert.ok(section.includes(`**${part}.** `), `${section.split('\n')[0]}: ${part}`)
  })
})
