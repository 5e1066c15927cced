import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { FastifyInstance } from 'fastify'
import { loadConfig } from '../../src/config/index.ts'
import { contributed } from '../../src/wiring/parts/index.ts'
import { startFakeFly } from '../fakes/fly/server.ts'
import { startFakeGithub } from '../fakes/github/server.ts'
import { testApp } from '../support/app.ts'

/** How an app finds the services that it stands on, by their names. */
function servicesOf(app: FastifyInstance) {
  const checks = contributed('services', loadConfig({}), app, {})
  return Object.fromEntries(checks.map(({ name, check }) => [name, check]))
}

test('operators see the state of Fly and GitHub; without them the server is degraded and keeps serving', async t => {
  const fly = await startFakeFly()
  t.after(() => fly.close())
  const github = await startFakeGithub()
  t.after(() => github.close())
  const { app, as, token } = await testApp(t, {
    DEPLOYER: 'fly',
    FLY_API_TOKEN: fly.token,
    FLY_ORG: fly.organization,
    FLY_API_URL: fly.url,
    FLY_GRAPHQL_URL: `${fly.url}/graphql`,
    GITHUB_URL: github.url,
    GITHUB_API_URL: github.url,
    GITHUB_APP_ID: String(github.app.id),
    GITHUB_APP_PRIVATE_KEY: github.app.privateKey,
    GITHUB_APP_SLUG: github.app.slug
  })
  const services = servicesOf(app)
  assert.equal(await services.fly!(), 'healthy')
  assert.equal(await services.github!(), 'healthy')

  github.outage = { path: '/app', status: 500 }
  await fly.close()
  const reply = await as(token, 'GET', '/health/detailed')
  assert.equal(reply.statusCode, 200, reply.body)
  assert.equal(reply.json().status, 'degraded')
  const { database, ...others } = reply.json().services
  assert.equal(database, 'healthy')
  assert.deepEqual(others, { redis: 'not_configured', fly: 'unhealthy', stripe: 'not_configured', github: 'unhealthy' })
})

test('GitHub is unhealthy if it no longer recognizes the App', async t => {
  const github = await startFakeGithub()
  t.after(() => github.close())
  const { app } = await testApp(t, {
    GITHUB_URL: github.url,
    GITHUB_API_URL: github.url,
    GITHUB_APP_ID: String(github.app.id + 1),
    GITHUB_APP_PRIVATE_KEY: github.app.privateKey,
    GITHUB_APP_SLUG: github.app.slug
  })
  assert.equal(await servicesOf(app).github!(), 'unhealthy')
})

test('unconfigured services are not reported as down', async t => {
  const { app } = await testApp(t)
  const services = servicesOf(app)
  assert.equal(await services.fly!(), 'not_configured')
  assert.equal(await services.github!(), 'not_configured')
})
