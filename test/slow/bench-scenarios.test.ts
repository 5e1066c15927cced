import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { type ServerCommand, type ServerProcess, startServer } from '../../bench/process.ts'
import { type Scenario, scenarios, type World } from '../../bench/scenarios.ts'
import { freshDatabase } from '../support/database.ts'
import { eventually } from '../support/eventually.ts'

interface Reply {
  readonly status: number
  readonly headers: Record<string, string>
  readonly body: string
}

/** A reply without varying parts: ids, times and the remaining quota. */
function essence({ status, headers, body }: Reply) {
  const {
    date,
    etag,
    'x-request-id': id,
    ratelimit,
    'ratelimit-policy': policy,
    'retry-after': wait,
    ...rest
  } = headers
  const limits = [ratelimit, policy].map(field => field?.replaceAll(/=\d+/g, ''))
  return {
    status,
    headers: {
      ...rest,
      'content-length': undefined,
      'content-security-policy': rest['content-security-policy']?.replace(/'nonce-[^']+'/g, '')
    },
    limits,
    has: { id: id !== undefined, wait: wait !== undefined, date: date !== undefined, etag: etag !== undefined },
    kind: body.slice(0, 8)
  }
}

async function fire(url: string, scenario: Scenario): Promise<Reply> {
  const { url: target, method = 'GET', headers = {}, body } = scenario.contestants.at(-1)!.shot(url, world)
  const reply = await fetch(target, { method, headers, ...(body !== undefined && { body }) })
  return { status: reply.status, headers: Object.fromEntries(reply.headers), body: await reply.text() }
}

/** Sends requests until the scenario is active: a limit has to be reached first, or pressure detected. */
async function answered(url: string, scenario: Scenario, status: number): Promise<Reply> {
  for (let sent = 0; sent < 5_000; sent++) {
    const reply = await fire(url, scenario)
    if (reply.status === status) return reply
  }
  return assert.fail(`${scenario.name} is never answered with ${status}`)
}

/** A scrape may be a second old. */
const metricsOf = async ({ url }: ServerProcess) => (await fetch(`${url}/metrics`)).text()

function counts(scenario: Scenario, status: number): (metrics: string) => boolean {
  const { url, method = 'GET' } = scenario.contestants.at(-1)!.shot('http://localhost', world)
  const path = new URL(url).pathname.replace(world.facts.appId ?? '', ':app')
  const labels = `method="${method}",path="${path}",status="${status}"`
  return metrics => metrics.includes(`rhone_http_requests_total{${labels}}`)
}

const dataDir = await mkdtemp(join(tmpdir(), 'rhone-bench-test-'))
after(() => rm(dataDir, { recursive: true, force: true }))
const world: World = { databaseUrl: await freshDatabase({ after }), dataDir, facts: {}, close: async () => {} }

const servers = new Map<string, Promise<ServerProcess>>()
after(() => Promise.all([...servers.values()].map(async server => (await server).stop())))

/** A start costs more than all requests of this test, so scenarios with equal settings share a server. */
function serverLike(command: ServerCommand): Promise<ServerProcess> {
  const key = JSON.stringify(command)
  const server = servers.get(key) ?? startServer(command)
  servers.set(key, server)
  return server
}

/** Once a limit is reached, the server gives no other reply, so the limit is tested last. */
const limitLast = scenarios.toSorted((a, b) => Number(a.name === '429') - Number(b.name === '429'))

for (const scenario of limitLast)
  test(`the benchmark "${scenario.name}" gets the replies of the shipped server`, { timeout: 60_000 }, async () => {
    const rhone = scenario.contestants.at(-1)!
    const { script, env = {} } = rhone.server(world)
    const measured = await serverLike({ script, env })
    await rhone.afterStart?.(measured.url, world)
    const { RATE_LIMIT_GENERAL: _general, RATE_LIMIT_USER: _user, ...shipped } = env
    const ordinary = await serverLike({ script, env: shipped })

    const expected = Number(scenario.name) || 200
    const seen = await answered(measured.url, scenario, expected)
    const usual = await answered(ordinary.url, scenario, expected)
    assert.deepEqual(essence(seen), essence(usual))
    await eventually(() => metricsOf(measured), counts(scenario, seen.status))
  })
