import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { FastifyInstance } from 'fastify'
import { fakeVault } from '../fakes/vault/server.ts'
import { freshDatabase } from '../support/database.ts'
import { eventually } from '../support/eventually.ts'
import { repeatedly } from '../support/repeatedly.ts'
import { OLD, server, serverOf, volume } from '../support/secret-place.ts'

/** Milliseconds between two requests: fifty a second. */
const PAUSE = 20
/** Milliseconds between two reads of the source, instead of half a minute. */
const LOOK = 100
/** Seconds. Leases are short here, so that an outage of seconds outlasts several, like one of minutes in production. */
const LEASE = { ttl: 2, maxTtl: 4 }
const OUTAGE = 10

const KEYS = { ENCRYPTION_KEYS: OLD, SESSION_KEYS: OLD, SIGNING_KEYS: OLD }

async function scrape(app: FastifyInstance, token: string): Promise<{ status: number; age: number }> {
  const { statusCode, body } = await app.inject({ url: '/metrics', headers: { authorization: `Bearer ${token}` } })
  return { status: statusCode, age: Number(/^rhone_secrets_source_age_seconds (\S+)$/m.exec(body)?.[1]) }
}

/** Sends requests that need a secret, and counts the replies by status. */
function load(t: TestContext, app: FastifyInstance, token: string) {
  const replies = new Map<number, number>()
  const asking = repeatedly(
    t.signal,
    async () => {
      const { status } = await scrape(app, token)
      replies.set(status, (replies.get(status) ?? 0) + 1)
    },
    PAUSE
  )
  return { replies, stop: () => asking.stop() }
}

test('a Vault whose tokens reach their max_ttl, and that is then sealed for a long time, fails no request', async t => {
  const vault = await fakeVault()
  t.after(() => vault.close())
  vault.lease = LEASE
  const stored = { ...KEYS, DATABASE_URL: await freshDatabase(t), METRICS_TOKEN: 'first-metrics-token' }
  vault.put('rhone', stored)
  const { app } = await serverOf(t, {
    SECRETS_SOURCE: `vault:${vault.url}/secret/rhone`,
    VAULT_ROLE_ID: vault.approle.roleId,
    VAULT_SECRET_ID: vault.approle.secretId
  })
  const requests = load(t, app, 'first-metrics-token')
  const looking = repeatedly(t.signal, () => app.secrets.refresh(), LOOK)
  const ageOfSource = async () => (await scrape(app, 'first-metrics-token')).age

  await eventually(() => vault.logins.length >= 3)
  assert.ok(vault.renewals.length > 0, 'tokens are renewed until their max_ttl')
  assert.ok((await ageOfSource()) < LEASE.ttl, 'no read of the source has failed')

  vault.isSealed = true
  vault.revokeAll()
  await eventually(ageOfSource, age => age > OUTAGE)
  vault.put('rhone', { ...stored, METRICS_TOKEN: 'second-metrics-token,first-metrics-token' })
  vault.isSealed = false
  await eventually(
    () => scrape(app, 'second-metrics-token'),
    ({ status }) => status === 200
  )
  await Promise.all([requests.stop(), looking.stop()])
  assert.deepEqual([...requests.replies.keys()], [200])
})

test('a swap of ..data takes effect within 30 s, without failed requests', async t => {
  const secrets = { ...KEYS, DATABASE_URL: await freshDatabase(t), METRICS_TOKEN: 'first-metrics-token' }
  const { path, swap } = await volume(t, secrets)
  const { app } = await server(t, { path })
  const requests = load(t, app, 'first-metrics-token')
  await swap({ ...secrets, METRICS_TOKEN: 'second-metrics-token,first-metrics-token' })
  await eventually(
    () => scrape(app, 'second-metrics-token'),
    ({ status }) => status === 200,
    30_000
  )
  await requests.stop()
  assert.deepEqual([...requests.replies.keys()], [200])
})
