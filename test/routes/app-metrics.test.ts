import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { deployments } from '../../drizzle/schema.ts'
import type { AppMetrics, Deployer } from '../../integrations/deployer/port.ts'
import { errorOf, platform } from './support.ts'

const METRICS: AppMetrics = {
  cpuPercent: 12.5,
  memory: { usedMb: 100, totalMb: 512, usedPercent: 19.5 },
  network: { bytesInPerSec: 1, bytesOutPerSec: 2 },
  requests: { total: 10, perSec: 0.5, avgLatencyMs: 12, errorRate: 0.1 },
  instances: [{ id: 'i1', region: 'iad', state: 'started', cpuPercent: 12.5, memoryMb: 100 }]
}
const asked: string[] = []
let answer: () => Promise<AppMetrics> = async () => METRICS

const server = await platform(
  { after },
  {
    deployer: fp(async (app: FastifyInstance) => {
      const deployer = {
        urlOf: () => null,
        running: async () => [],
        metrics(running) {
          asked.push(running.slug)
          return answer()
        }
      } satisfies Pick<Deployer, 'metrics' | 'urlOf' | 'running'> & {
        metrics(app: { slug: string }): Promise<AppMetrics>
      }
      app.decorate('deployer', deployer as unknown as never)
    })
  }
)
const { owner, member, team } = await server.addPeople()

async function addApp(name: string, isLive = true) {
  const app = (await owner.call('POST', '/api/v1/apps', { name, team: team.slug })).json()
  if (isLive) await server.app.db.insert(deployments).values({ appId: app.id, status: 'live' })
  return { slug: app.slug, read: () => member.call('GET', `/api/v1/apps/${app.slug}/metrics`) }
}

test('the metrics of an app come from its deployer, read once for concurrent requests', async () => {
  const app = await addApp('measured')
  const replies = await Promise.all(Array.from({ length: 20 }, app.read))
  for (const reply of replies) {
    assert.equal(reply.statusCode, 200)
    assert.deepEqual(reply.json(), METRICS)
  }
  assert.deepEqual(
    asked.filter(slug => slug === app.slug),
    [app.slug]
  )
})

test('an app that is not running has empty metrics, without asking the deployer', async () => {
  const app = await addApp('idle', false)
  const { cpuPercent, instances } = (await app.read()).json()
  assert.deepEqual([cpuPercent, instances], [0, []])
  assert.ok(!asked.includes(app.slug))
})

test('unreadable metrics are reported without the cause', async t => {
  t.after(() => {
    answer = async () => METRICS
  })
  answer = async () => Promise.reject(new Error('GET https://token@fly.example failed'))
  const app = await addApp('unlucky')
  const reply = await app.read()
  assert.deepEqual([errorOf(reply).status, errorOf(reply).code], [503, 'SERVICE_UNAVAILABLE'])
  assert.equal(reply.headers['retry-after'], '5')
  assert.ok(!reply.body.includes('fly.example'))
  answer = async () => METRICS
  assert.equal((await app.read()).statusCode, 200)
})
