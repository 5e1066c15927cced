import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { eq } from 'drizzle-orm'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { deployments } from '../../../drizzle/schema.ts'
import type { Builder } from '../../../integrations/builder/index.ts'
import type { Deployer } from '../../../integrations/deployer/index.ts'
import { testApp } from '../../support/app.ts'
import { eventually } from '../../support/eventually.ts'

const IMAGE = `local:sha256:${'a'.repeat(64)}`

/** Builds that never end on their own. */
const endless: Builder = {
  name: 'endless',
  async build(_request, { signal }) {
    if (!signal.aborted) await once(signal, 'abort')
    throw signal.reason
  }
}

/** A deployer that starts everything immediately. */
const anywhere: Deployer = {
  name: 'anywhere',
  urlOf: () => null,
  async start() {},
  async serve() {},
  async retire() {},
  async destroy() {},
  running: async () => [],
  async *logs() {},
  metrics: () => Promise.reject(new Error('nothing is measured here'))
}

test('a rollback does not wait for builds of other apps, however many and long', async t => {
  const { app, as, token } = await testApp(
    t,
    {},
    {
      builder: fp(async (app: FastifyInstance) => void app.decorate('builder', endless)),
      deployer: fp(async (app: FastifyInstance) => void app.decorate('deployer', anywhere))
    }
  )
  const add = async (name: string): Promise<string> =>
    (await as(token, 'POST', '/api/v1/apps', { name, githubRepo: null, gitUrl: 'https://git.example/a' })).json().id
  const statuses = async () => (await app.db.select().from(deployments)).map(({ status }) => status)

  const broken = await add('broken')
  const served = { appId: broken, status: 'superseded', image: IMAGE } as const
  const [good] = await app.db.insert(deployments).values(served).returning()
  for (let i = 0; i < 20; i++) {
    const push = { appId: await add(`busy-${i}`), trigger: 'webhook', triggeredBy: null } as const
    await app.db.transaction(tx => app.deploying.ledger!.create(tx, push))
  }
  await eventually(async () => (await statuses()).includes('cloning'))

  const rollback = await as(token, 'POST', '/api/v1/apps/broken/rollback', { deploymentId: good!.id })
  assert.equal(rollback.statusCode, 202, rollback.body)
  const isLive = async () => {
    const [row] = await app.db.select().from(deployments).where(eq(deployments.id, rollback.json().id))
    return row!.status === 'live'
  }
  await eventually(isLive)
  assert.ok((await statuses()).includes('pending'), 'builds go on waiting for each other')
})
