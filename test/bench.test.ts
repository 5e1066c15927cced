import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { startServer } from '../bench/process.ts'
import { type Scenario, scenarios, type World } from '../bench/scenarios.ts'
import { freshDatabase } from './support/database.ts'

interface Reply {
  readonly status: number
  readonly headers: Record<string, string>
  readonly body: string
}

/** What a reply says, without what differs from one to the next: ids, times, and what is left of a quota. */
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

async function fire(url: string, scenario: Scenario, world: World): Promise<Reply> {
  const { url: target, method = 'GET', headers = {}, body } = scenario.contestants.at(-1)!.shot(url, world)
  const reply = await fetch(target, { method, headers, ...(body !== undefined && { body }) })
  return { status: reply.status, headers: Object.fromEntries(reply.headers), body: await reply.text() }
}

/** Asks until the scenario is on: a limit has to be reached first, and pressure to be noticed. */
async function answered(url: string, scenario: Scenario, world: World, status: number): Promise<Reply> {
  for (let sent = 0; sent < 5_000; sent++) {
    const reply = await fire(url, scenario, world)
    if (reply.status === status) return reply
  }
  return assert.fail(`${scenario.name} is never answered with ${status}`)
}

async function worldOf(t: TestContext): Promise<World> {
  const dataDir = await mkdtemp(join(tmpdir(), 'rhone-bench-test-'))
  t.after(() => rm(dataDir, { recursive: true, force: true }))
  return { databaseUrl: await freshDatabase(t), dataDir, facts: {}, close: async () => {} }
}

for (const scenario of scenarios)
  test(`the benchmark "${scenario.name}" sees the replies of a server as it ships`, { timeout: 60_000 }, async t => {
    const world = await worldOf(t)
    const rhone = scenario.contestants.at(-1)!
    const { script, env = {} } = rhone.server(world)
    const measured = await startServer({ script, env })
    t.after(() => measured.stop())
    await rhone.afterStart?.(measured.url, world)
    const { RATE_LIMIT_GENERAL: _general, RATE_LIMIT_USER: _user, RHONE_SWAP: swap, ...shipped } = env
    const ordinary = await startServer({ script, env: { ...shipped, ...(swap !== undefined && { RHONE_SWAP: swap }) } })
    t.after(() => ordinary.stop())

    const expected = Number(scenario.name) || 200
    const seen = await answered(measured.url, scenario, world, expected)
    const usual = await answered(ordinary.url, scenario, world, expected)
    assert.deepEqual(essence(seen), essence(usual))
    const metrics = await (await fetch(`${measured.url}/metrics`)).text()
    assert.match(metrics, new RegExp(`^rhone_http_requests_total\\{.*status="${seen.status}"`, 'm'))
  })
