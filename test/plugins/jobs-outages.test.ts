import assert from 'node:assert/strict'
import { after, suite, test } from 'node:test'
import { sql } from 'drizzle-orm'
import type { JobContext, JobQueue } from '../../plugins/jobs/index.ts'
import type { AppError } from '../../plugins/lib/errors.ts'
import { emptyDatabase, freshDatabase, terminateBackends } from '../support/database.ts'
import { eventually } from '../support/eventually.ts'
import {
  aborted,
  type JobServer,
  type JobServerOptions,
  jobServer,
  newQueue,
  outcomesOf,
  statesIn
} from '../support/jobs.ts'
import { startWorkerProcess } from '../support/jobs-process.ts'
import { stays } from '../support/stays.ts'
import { tcpProxy } from '../support/tcp-proxy.ts'

const url = await emptyDatabase({ after })

type Scope = Parameters<typeof jobServer>[0]

async function start(t: Scope, queues: readonly JobQueue[], options: JobServerOptions = {}): Promise<JobServer> {
  const server = await jobServer(t, url, { queues, ...options })
  await server.app.jobs.start()
  return server
}

suite('failures', () => {
  test('a worker that is killed has lost its job within the lease, and another one takes it', async t => {
    const done: number[] = []
    const queue = newQueue(async (_data, { attempt }) => void done.push(attempt), { retries: 3 })
    const server = await start(t, [queue], { work: false })
    const worker = await startWorkerProcess(t, url, queue.name)
    await server.app.jobs.send(null, queue.name, {})
    await worker.hasBegun
    worker.kill()
    const rescuer = await start(t, [queue], { lease: 1 })
    await eventually(() => done.length === 1)
    assert.deepEqual(done, [2])
    await eventually(async () => (await statesIn(rescuer, queue))[0] === 'completed')
  })

  test('a stopping server returns unfinished jobs, and another one continues immediately', async t => {
    const begun: [who: string, attempt: number][] = []
    const queueOf = (who: string, run: JobQueue['run']): JobQueue => ({
      ...newQueue(async (data, job) => {
        begun.push([who, job.attempt])
        await run(data, job)
      }),
      name
    })
    const POLL_INTERVAL = 60_000
    const { name } = newQueue(async () => {})
    const polite = (_data: object, { signal }: JobContext) => aborted(signal)
    const deaf = () => new Promise<never>(() => {})
    let n = 0
    const leaving = await start(t, [queueOf('leaving', (data, job) => (n++ === 0 ? polite(data, job) : deaf()))])
    await leaving.app.jobs.send(null, name, {})
    await leaving.app.jobs.send(null, name, {})
    await eventually(() => begun.length === 2)
    const staying = await start(t, [queueOf('staying', async () => {})], { pollInterval: POLL_INTERVAL })
    const stopped = performance.now()
    await leaving.app.close()
    await eventually(() => begun.length === 4)
    assert.ok(performance.now() - stopped < POLL_INTERVAL / 2)
    // Without having used up an attempt.
    assert.deepEqual(begun.slice(2), [
      ['staying', 1],
      ['staying', 1]
    ])
    assert.deepEqual(await outcomesOf(leaving, { name }), { returned: 2 })
    await eventually(async () => (await outcomesOf(staying, { name })).completed === 2)
  })

  test('jobs survive a database outage: it is logged once, and jobs finished meanwhile do not run again', async t => {
    const proxy = await tcpProxy(t, url)
    const gate = Promise.withResolvers<void>()
    const runs: string[] = []
    const queue = newQueue(async data => {
      const { name } = data as { name: string }
      runs.push(name)
      if (name === 'through') await gate.promise
    })
    const server = await jobServer(t, proxy.url, { queues: [queue] })
    const { app, lines } = server
    await app.jobs.start()
    await app.jobs.send(null, queue.name, { name: 'through' })
    await eventually(() => runs.length === 1)
    await proxy.stop()
    await eventually(() => lines.some(({ msg }) => msg === 'jobs are paused: the database cannot be reached'))
    gate.resolve()
    await assert.rejects(
      app.jobs.send(null, queue.name, { name: 'never' }),
      (error: AppError) => error.statusCode === 503
    )
    await stays(() => !lines.some(({ msg }) => msg === 'jobs have resumed'), 300)
    await proxy.start()
    await eventually(() => lines.some(({ msg }) => msg === 'jobs have resumed'))
    await eventually(() => app.jobs.send(null, queue.name, { name: 'after' }).catch(() => null))
    await eventually(() => runs.includes('after'))
    await eventually(async () => (await statesIn(server, queue)).every(state => state === 'completed'))
    assert.deepEqual(runs, ['through', 'after'])
    assert.equal(lines.filter(({ msg }) => msg === 'jobs are paused: the database cannot be reached').length, 1)
    assert.deepEqual(
      lines.filter(({ level, msg }) => (level as number) >= 50 && msg !== 'the database cannot be reached'),
      []
    )
  })

  test('connections that are cut in the middle leave no job behind', async t => {
    const own = await freshDatabase(t)
    const seen = new Set<number>()
    const queue = newQueue(async data => void seen.add((data as { n: number }).n), { retries: 5 })
    const server = await jobServer(t, own, { queues: [queue], lease: 1 })
    await server.app.jobs.start()
    for (let n = 0; n < 10; n++) {
      await eventually(() => server.app.jobs.send(null, queue.name, { n }).catch(() => null))
      if (n % 4 === 0) await terminateBackends(own)
    }
    await eventually(async () => {
      const states = await statesIn(server, queue).catch(() => [])
      return states.length >= 10 && states.every(state => state === 'completed')
    })
    assert.equal(seen.size, 10)
  })

  test('a database that is down at the start is waited for, without failing the server', async t => {
    const proxy = await tcpProxy(t, url)
    await proxy.stop()
    const queue = newQueue(async () => {})
    const server = await jobServer(t, proxy.url, { queues: [queue] })
    await assert.rejects(server.app.jobs.start(), (error: AppError) => error.statusCode === 503)
    await proxy.start()
    await eventually(() =>
      server.app.jobs.start().then(
        () => true,
        () => false
      )
    )
    assert.ok(await server.app.jobs.send(null, queue.name, {}))
  })

  test('several instances that boot at once on an empty database agree on its tables', async t => {
    const empty = await emptyDatabase(t)
    const queue = newQueue(async () => {})
    const servers = await Promise.all([1, 2, 3, 4].map(() => jobServer(t, empty, { queues: [queue] })))
    await Promise.all(servers.map(({ app }) => app.jobs.start()))
    for (const { app } of servers) await app.jobs.send(null, queue.name, {})
    await eventually(
      async () => (await statesIn(servers[0]!, queue)).filter(state => state === 'completed').length === 4
    )
  })

  test('a queue accepts new settings, but not another order of its jobs', async t => {
    const queue = newQueue(async () => {})
    const { app: before } = await start(t, [queue])
    await before.jobs.send(null, queue.name, {})
    const { app } = await start(t, [{ ...queue, retries: 7 }])
    await app.jobs.send(null, queue.name, {})
    const [row] = await app.db.execute(sql`select retry_limit from pgboss.queue where name = ${queue.name}`)
    assert.equal(row!.retry_limit, 7)
    const { app: changed, lines } = await jobServer(t, url, { queues: [{ ...queue, serial: true }] })
    await changed.jobs.start()
    await eventually(() => lines.some(({ err }) => /another name/.test((err as Error | undefined)?.message ?? '')))
  })
})
