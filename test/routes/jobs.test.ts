import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, test } from 'node:test'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import jobs from '../../plugins/jobs/index.ts'
import { eventually } from '../support/eventually.ts'
import { addDeadJob, newQueue } from '../support/jobs.ts'
import { errorOf, platform } from './support.ts'

const runs: object[] = []
const queue = newQueue(async data => void runs.push(data))

/** Jobs with a queue of our own. */
const ours = fp(async (app: FastifyInstance) => {
  await app.register(jobs, { queues: [queue] })
  app.addHook('onReady', () => app.jobs.start())
})

const server = await platform({ after }, { jobs: ours })
const { operator } = server
const { owner } = await server.addPeople()

test('operators can list jobs by queue and state, page by page, without their data', async () => {
  for (let n = 0; n < 3; n++) await server.app.jobs.send(null, queue.name, { secret: 'hidden' }, { after: 3_600 })
  const dead = await addDeadJob(server.app.db)
  const read = async (query: string) => {
    const response = await operator.call('GET', `/admin/jobs?${query}`)
    assert.equal(response.statusCode, 200, response.body)
    assert.ok(!response.body.includes('hidden'))
    return response.json()
  }

  const [first] = (await read('state=dead')).items
  assert.deepEqual(
    { ...first, createdAt: null, startedAt: null, finishedAt: null },
    {
      id: dead,
      queue: 'graveyard',
      state: 'dead',
      key: 'key',
      attempt: 1,
      error: 'it did not work',
      createdAt: null,
      startedAt: null,
      finishedAt: null
    }
  )
  const all = await read(`queue=${queue.name}`)
  assert.deepEqual(
    [all.items.length, all.nextCursor, all.items[0].state, all.items[0].attempt],
    [3, null, 'waiting', 0]
  )
  const page = await read(`queue=${queue.name}&limit=2`)
  const rest = await read(`queue=${queue.name}&limit=2&cursor=${page.nextCursor}`)
  assert.deepEqual([...page.items, ...rest.items], all.items)
  assert.equal((await read('queue=none')).items.length, 0)
  assert.equal((await operator.call('GET', '/admin/jobs')).json().items.length, 4)

  for (const query of ['state=lost', 'queue=A%20B', 'limit=0', 'cursor=garbage', 'nothing=1'])
    assert.equal(errorOf(await operator.call('GET', `/admin/jobs?${query}`)).code, 'VALIDATION_ERROR', query)
  assert.equal((await owner.call('GET', '/admin/jobs')).statusCode, 403)
})

test('an operator can retry a dead job once, and it is audited', async () => {
  const id = await addDeadJob(server.app.db)
  const retry = () => operator.call('POST', `/admin/jobs/${id}/retry`)
  const accepted = await retry()
  assert.equal(accepted.statusCode, 202, accepted.body)
  assert.deepEqual(accepted.json(), { id, queue: 'graveyard', state: 'retrying' })
  assert.deepEqual(errorOf(await retry()), { status: 409, code: 'CONFLICT' })

  const audited = await eventually(
    async () => (await operator.call('GET', '/admin/audit?type=admin&action=retry')).json().items,
    items => items.length === 2
  )
  assert.deepEqual(
    audited.map((row: Record<string, unknown>) => [row.resource, row.resourceId, row.outcome]),
    [
      ['job', id, 'failure'],
      ['job', id, 'success']
    ]
  )
})

test('a retry of an unknown job is a 404, for any id', async () => {
  for (const id of [`${queue.name}.${randomUUID()}`, `none.${randomUUID()}`, randomUUID(), 'x', "'; drop--.x", '%00']) {
    const response = await operator.call('POST', `/admin/jobs/${encodeURIComponent(id)}/retry`)
    assert.deepEqual(errorOf(response), { status: 404, code: 'NOT_FOUND' }, id)
  }
  assert.equal((await owner.call('POST', `/admin/jobs/${await addDeadJob(server.app.db)}/retry`)).statusCode, 403)
})
