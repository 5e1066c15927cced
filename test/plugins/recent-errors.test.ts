import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import Fastify from 'fastify'
import recentErrors, { type ServerError } from '../../plugins/recent-errors.ts'

const error: ServerError = { code: 'INTERNAL_ERROR', route: 'GET /', requestId: 'r1' }

function journal() {
  const written: ServerError[][] = []
  const events = new EventTarget()
  let pending: ServerError[] = []
  return {
    written,
    flushed: () => once(events, 'flush'),
    note: (noted: ServerError) => void pending.push(noted),
    async flush() {
      if (pending.length > 0) written.push(pending)
      pending = []
      events.dispatchEvent(new Event('flush'))
    }
  }
}

test('errors are written at intervals, and once more when the app closes', async () => {
  const kept = journal()
  const app = Fastify()
  await app.register(recentErrors, { journal: kept, flushInterval: 5 })
  app.recentErrors.note(error)
  await kept.flushed()
  assert.deepEqual(kept.written, [[error]])

  app.recentErrors.note({ ...error, requestId: 'r2' })
  await app.close()
  assert.equal(kept.written.length, 2)
})

test('an unreachable journal does no harm', async () => {
  const app = Fastify()
  const flush = () => Promise.reject(new Error('database is away'))
  await app.register(recentErrors, { journal: { note() {}, flush }, flushInterval: 1 })
  app.get('/', async () => 'served')
  assert.equal((await app.inject('/')).body, 'served')
  await app.close()
})

test('without a journal, noting an error does nothing', async () => {
  const app = Fastify()
  await app.register(recentErrors)
  app.recentErrors.note(error)
  await app.close()
})
