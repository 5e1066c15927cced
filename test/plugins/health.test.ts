import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { Registry } from '@platformatic/prom-client'
import Fastify, { type RouteOptions } from 'fastify'
import health, { type HealthDeps, type HealthOptions } from '../../plugins/health/index.ts'
import { eventually } from '../support/eventually.ts'

async function server(t: TestContext, options: Partial<HealthOptions> & HealthDeps = {}) {
  const app = Fastify()
  const routes: RouteOptions[] = []
  app.addHook('onRoute', route => {
    routes.push(route)
  })
  await app.register(health, Object.freeze({ readyTtl: 0, detailedTtl: 0, ...options }))
  t.after(() => app.close())
  return { app, routes }
}

/** A check that hangs until the test is over. */
const hangs = () => new Promise<never>(() => {})

/** The plugin's timers do not keep the process alive, so the test must. */
function stayAwake(t: TestContext): void {
  const awake = setInterval(() => {}, 1_000)
  t.after(() => clearInterval(awake))
}

test('without the plugin there are no probes', async () => {
  const app = Fastify()
  for (const url of ['/health', '/ready', '/health/detailed']) assert.equal((await app.inject(url)).statusCode, 404)
})

test('by default, it is alive, ready and healthy', async t => {
  const { app } = await server(t)
  const [alive, ready, detailed] = await Promise.all(
    ['/health', '/ready', '/health/detailed'].map(url => app.inject(url))
  )
  assert.equal(alive!.body, '{"status":"ok"}')
  assert.equal(alive!.headers['content-type'], 'application/json; charset=utf-8')
  assert.equal(ready!.body, '{"status":"ready"}')
  assert.equal(detailed!.body, '{"status":"ok"}')
})

test('HEAD works on every probe', async t => {
  const { app } = await server(t)
  for (const url of ['/health', '/ready', '/health/detailed']) {
    const reply = await app.inject({ method: 'HEAD', url })
    assert.equal(reply.statusCode, 200)
    assert.equal(reply.body, '')
  }
})

test('liveness ignores checks, even if they fail or hang', async t => {
  const { app } = await server(t, {
    readiness: { database: hangs, pressure: () => false },
    services: { database: hangs }
  })
  assert.equal((await app.inject('/health')).statusCode, 200)
})

test('readiness lists all reasons against it, in a fixed order', async t => {
  const fails = () => Promise.reject(new Error('down'))
  const { app } = await server(t, {
    readiness: { draining: () => false, pressure: () => true, database: fails, starting: async () => true }
  })
  const reply = await app.inject('/ready')
  assert.equal(reply.statusCode, 503)
  assert.deepEqual(reply.json(), { status: 'not_ready', reasons: ['database', 'draining'] })
})

test('readiness returns when the reason disappears', async t => {
  let isUp = false
  const { app } = await server(t, { readiness: { database: () => isUp } })
  assert.equal((await app.inject('/ready')).statusCode, 503)
  isUp = true
  assert.equal((await app.inject('/ready')).statusCode, 200)
})

test('a hanging check fails after its timeout, and is not repeated meanwhile', async t => {
  stayAwake(t)
  let calls = 0
  const { app } = await server(t, {
    checkTimeout: 30,
    readiness: {
      database: () => {
        calls++
        return hangs()
      }
    }
  })
  for (let i = 0; i < 3; i++) assert.deepEqual((await app.inject('/ready')).json().reasons, ['database'])
  assert.equal(calls, 1)
})

test('concurrent and frequent probes share one check of the database', async t => {
  let calls = 0
  const { app } = await server(t, { readyTtl: 60_000, readiness: { database: () => ++calls > 0 } })
  await Promise.all(Array.from({ length: 20 }, () => app.inject('/ready')))
  await app.inject('/ready')
  assert.equal(calls, 1)
})

test('an optional service that is down degrades, a required one makes unhealthy, one not configured does nothing', async t => {
  const states = async (services: NonNullable<HealthDeps['services']>) => {
    const { app } = await server(t, { services })
    const { statusCode, body } = await app.inject('/health/detailed')
    return [statusCode, JSON.parse(body).status]
  }
  assert.deepEqual(await states({ database: () => 'healthy', fly: () => 'not_configured' }), [200, 'ok'])
  assert.deepEqual(await states({ database: () => 'healthy', fly: () => 'unhealthy' }), [200, 'degraded'])
  assert.deepEqual(await states({ database: () => 'unhealthy', fly: () => 'healthy' }), [503, 'unhealthy'])
  assert.deepEqual(await states({ database: () => Promise.reject(new Error('down')) }), [503, 'unhealthy'])
})

test('services are checked in parallel, each with its own timeout', async t => {
  stayAwake(t)
  const redisAsked = Promise.withResolvers<'healthy'>()
  const flyAsked = Promise.withResolvers<'healthy'>()
  const { app } = await server(t, {
    checkTimeout: 100,
    authorize: () => true,
    services: {
      database: hangs,
      redis: () => {
        redisAsked.resolve('healthy')
        return flyAsked.promise
      },
      fly: () => {
        flyAsked.resolve('healthy')
        return redisAsked.promise
      }
    }
  })
  const { services } = (await app.inject('/health/detailed')).json()
  assert.deepEqual(services, { database: 'unhealthy', redis: 'healthy', fly: 'healthy' })
})

test('only operators see more than the status', async t => {
  const { app } = await server(t, {
    version: '1.2.3',
    services: { database: () => 'unhealthy' },
    authorize: request => request.headers.authorization === 'operator',
    describe: () => ({ region: 'fra', draining: false })
  })
  const anonymous = await app.inject('/health/detailed')
  assert.equal(anonymous.statusCode, 503)
  assert.deepEqual(anonymous.json(), { status: 'unhealthy' })

  const operator = (await app.inject({ url: '/health/detailed', headers: { authorization: 'operator' } })).json()
  assert.equal(operator.version, '1.2.3')
  assert.deepEqual(operator.services, { database: 'unhealthy' })
  assert.equal(operator.instance.region, 'fra')
  assert.equal(operator.instance.draining, false)
  assert.equal(typeof operator.instance.uptime, 'number')
  assert.ok(Date.now() - Date.parse(operator.timestamp) < 5_000)
})

test('a caller who is not an operator, or cannot be identified, is anonymous', async t => {
  for (const authorize of [async () => false, () => Promise.reject(new Error('the database is down'))]) {
    const { app } = await server(t, { authorize, version: '1.2.3' })
    assert.equal((await app.inject('/health/detailed')).body, '{"status":"ok"}')
  }
  const { app } = await server(t, { authorize: async () => true, version: '1.2.3' })
  assert.equal((await app.inject('/health/detailed')).json().version, '1.2.3')
})

test('anonymous callers cannot make it call services at will', async t => {
  let calls = 0
  const stripe = () => {
    calls++
    return 'healthy' as const
  }
  const { app } = await server(t, { detailedTtl: 60_000, services: { stripe } })
  for (let i = 0; i < 10; i++) await app.inject('/health/detailed')
  assert.equal(calls, 1)
})

test('the state of each configured service is a metric', async t => {
  const registry = new Registry()
  const { app } = await server(t, {
    registry,
    services: { database: () => 'healthy', fly: () => 'unhealthy', stripe: () => 'not_configured' }
  })
  await app.inject('/health/detailed')
  const text = await registry.metrics()
  assert.match(text, /^rhone_dependency_up\{service="database"\} 1$/m)
  assert.match(text, /^rhone_dependency_up\{service="fly"\} 0$/m)
  assert.doesNotMatch(text, /stripe/)
})

test('probes are exempt from everything that may refuse a request, and documented', async t => {
  const { routes } = await server(t)
  for (const { config, schema, url } of routes.filter(({ method }) => method === 'GET')) {
    assert.deepEqual(config, {
      access: 'public',
      cors: false,
      // Limited like all other routes that look up callers.
      rateClass: url === '/health/detailed' ? 'general' : false,
      priority: 'probe',
      maintenance: false,
      log: 'debug',
      slo: 'health'
    })
    assert.ok(schema?.operationId && schema.summary && schema.response)
  }
})

test('a timeout of nothing and unknown options fail the boot', async () => {
  await assert.rejects(
    async () => Fastify().register(health, { checkTimeout: 0 }),
    /rhone-health: option "checkTimeout"/
  )
  await assert.rejects(async () => Fastify().register(health, { ready: true } as object), /rhone-health.*"ready"/)
})

test('the gauges of the services change even without health requests', async t => {
  stayAwake(t)
  const registry = new Registry()
  let state: 'healthy' | 'unhealthy' = 'healthy'
  const { app } = await server(t, { registry, services: { fly: () => state } })
  await app.ready()
  const shows = (value: number) =>
    eventually(
      () => registry.metrics(),
      text => text.includes(`rhone_dependency_up{service="fly"} ${value}`)
    )
  await shows(1)
  state = 'unhealthy'
  await shows(0)
})
