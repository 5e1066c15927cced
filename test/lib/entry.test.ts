import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import Fastify, { type FastifyInstance } from 'fastify'
import { onEntry } from '../../plugins/lib/entry.ts'

function server(t: TestContext): { app: FastifyInstance; passed: string[] } {
  const app = Fastify()
  t.after(() => app.close())
  return { app, passed: [] }
}

test('steps and hooks run in the order in which they were added, in scopes of their own too', async t => {
  const { app, passed } = server(t)
  const step = (name: string) => () => {
    passed.push(name)
    return undefined
  }
  onEntry(app, step('first'))
  onEntry(app, step('second'))
  app.addHook('onRequest', async () => void passed.push('hook'))
  onEntry(app, step('third'))
  app.register(async scope => {
    onEntry(scope, step('inner'))
    scope.addHook('onRequest', async () => void passed.push('inner hook'))
    onEntry(scope, step('innermost'))
    scope.get('/inner', async () => 'served')
  })
  onEntry(app, step('fourth'))
  app.get('/', async () => 'served')

  await app.inject('/')
  assert.deepEqual(passed.splice(0), ['first', 'second', 'hook', 'third', 'fourth'])
  await app.inject('/inner')
  const inner = ['inner', 'inner hook', 'innermost']
  assert.deepEqual(passed, ['first', 'second', 'hook', 'third', 'fourth', ...inner])
})

for (const [how, wait] of [
  ['at once', (value: Error) => value],
  ['later', async (value: Error) => value]
] as const)
  test(`a step that fails a request ${how} skips the following steps`, async t => {
    const { app } = server(t)
    onEntry(app, () => wait(Object.assign(new Error('no'), { statusCode: 418 })))
    onEntry(app, () => assert.fail('reached'))
    app.get('/', async () => 'served')
    assert.equal((await app.inject('/')).statusCode, 418)
  })

test('a request continues when an asynchronous step has finished', async t => {
  const { app, passed } = server(t)
  onEntry(app, async () => void passed.push('waited') as undefined)
  onEntry(app, () => void passed.push('went on') as undefined)
  app.get('/', async () => 'served')
  assert.equal((await app.inject('/')).body, 'served')
  assert.deepEqual(passed, ['waited', 'went on'])
})

test('a step may reply itself, immediately or later', async t => {
  const { app } = server(t)
  onEntry(app, (request, reply) => (request.url === '/now' ? reply.send('now') : undefined))
  onEntry(app, async (request, reply) => (request.url === '/later' ? reply.send('later') : undefined))
  onEntry(app, request => assert.equal(request.url, '/') as undefined)
  for (const url of ['/', '/now', '/later']) app.get(url, async () => 'served')
  assert.equal((await app.inject('/now')).body, 'now')
  assert.equal((await app.inject('/later')).body, 'later')
  assert.equal((await app.inject('/')).body, 'served')
})

test('a step that throws, immediately or later, fails only the request', async t => {
  const { app } = server(t)
  onEntry(app, request => {
    if (request.url === '/now') throw new Error('now')
    return undefined
  })
  onEntry(app, async request => {
    if (request.url === '/later') throw new Error('later')
    return undefined
  })
  for (const url of ['/', '/now', '/later']) app.get(url, async () => 'served')
  assert.equal((await app.inject('/now')).statusCode, 500)
  assert.equal((await app.inject('/later')).statusCode, 500)
  assert.equal((await app.inject('/')).statusCode, 200)
})
