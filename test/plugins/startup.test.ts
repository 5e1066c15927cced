import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import Fastify, { type FastifyInstance } from 'fastify'
import startup, { type StartupDeps } from '../../plugins/startup.ts'
import { stays } from '../support/stays.ts'

async function server(t: { after(fn: () => unknown): void }, input: StartupDeps & { retryInterval?: number } = {}) {
  const app: FastifyInstance = Fastify()
  t.after(() => app.close())
  await app.register(startup, input)
  app.get('/', async () => 'served')
  app.get('/probe', { config: { priority: 'probe' } }, async () => 'alive')
  return app
}

const awayUntil = (attempts: number) => {
  let tried = 0
  return async () => {
    tried += 1
    if (tried < attempts) throw new Error('away')
  }
}

test('without steps it serves immediately', async t => {
  const app = await server(t)
  assert.equal((await app.inject('/')).body, 'served')
  assert.equal(app.startup.done, true)
})

test('steps run once each, in order, before the first request is served', async t => {
  const ran: string[] = []
  const step = (name: string) => async () => ran.push(name)
  const app = await server(t, { steps: { first: step('first'), second: step('second') } })
  await app.inject('/')
  await app.inject('/')
  assert.deepEqual(ran, ['first', 'second'])
})

test('while a dependency is unreachable it refuses requests but answers probes, and continues by itself', async t => {
  const gone = new EventTarget()
  const app = await server(t, {
    retryInterval: 5,
    retryable: () => true,
    steps: { database: awayUntil(3), last: async () => gone.dispatchEvent(new Event('done')) }
  })
  const finished = once(gone, 'done')
  const refused = await app.inject('/')
  assert.equal(refused.statusCode, 503)
  assert.equal(refused.json().code, 'SERVICE_UNAVAILABLE')
  assert.equal((await app.inject('/probe')).statusCode, 200)

  await finished
  await app.startup.completed
  assert.equal((await app.inject('/')).statusCode, 200)
})

test('a step that can never succeed fails the boot with its own error', async t => {
  const app = await server(t, {
    steps: {
      migrations: async () => {
        throw new Error('migration 0001 was edited')
      }
    }
  })
  await assert.rejects(async () => app.ready(), /migration 0001 was edited/)
  await assert.rejects(app.startup.completed, /migration 0001 was edited/)
})

test('an unknown option fails the boot by name', async () => {
  await assert.rejects(async () => Fastify().register(startup, { retires: 3 } as object), /rhone-startup.*"retires"/)
})

test('closing stops the retries', async () => {
  let attempts = 0
  const app = Fastify()
  await app.register(startup, {
    retryInterval: 1,
    retryable: () => true,
    steps: {
      database: async () => {
        attempts += 1
        throw new Error('away')
      }
    }
  })
  await app.ready()
  await app.close()
  const attemptsAtClose = attempts
  await stays(() => attempts <= attemptsAtClose + 1)
})
