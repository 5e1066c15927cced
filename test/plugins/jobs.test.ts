import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, suite, test } from 'node:test'
import { sql } from 'drizzle-orm'
import Fastify from 'fastify'
import jobs, { AttemptEnded, type JobContext, type JobQueue } from '../../plugins/jobs/index.ts'
import type { AppError } from '../../plugins/lib/errors.ts'
import { emptyDatabase } from '../support/database.ts'
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
import { stays } from '../support/stays.ts'

const url = await emptyDatabase({ after })

type Scope = Parameters<typeof jobServer>[0]

async function start(t: Scope, queues: readonly JobQueue[], options: JobServerOptions = {}): Promise<JobServer> {
  const server = await jobServer(t, url, { queues, ...options })
  await server.app.jobs.start()
  return server
}

suite('sending', () => {
  test('a job starts immediately, on its own or within a transaction', async t => {
    const seen: { data: object; at: number }[] = []
    const queue = newQueue(async data => void seen.push({ data, at: performance.now() }))
    const { app } = await start(t, [queue], { pollInterval: 60_000 })
    await app.jobs.send(null, queue.name, { warm: 'up' })
    await eventually(() => seen.length === 1)

    const sent = performance.now()
    await app.db.transaction(tx => app.jobs.send(tx, queue.name, { deploymentId: 'd-1' }))
    await eventually(() => seen.length === 2)
    assert.deepEqual(seen[1]!.data, { deploymentId: 'd-1' })
    assert.ok(seen[1]!.at - sent < 1_000, `it has taken ${seen[1]!.at - sent} ms`)
  })

  test('a job of a rolled back transaction does not exist', async t => {
    const queue = newQueue(async () => {})
    const server = await start(t, [queue])
    const failing = server.app.db.transaction(async tx => {
      assert.ok(await server.app.jobs.send(tx, queue.name, {}))
      throw new Error('changed my mind')
    })
    await assert.rejects(failing, /changed my mind/)
    assert.deepEqual(await statesIn(server, queue), [])
  })

  test('a job with an id is accepted once, however often it is sent', async t => {
    const queue = newQueue(async () => {})
    const server = await start(t, [queue])
    const id = randomUUID()
    assert.equal(await server.app.jobs.send(null, queue.name, {}, { id }), id)
    await eventually(async () => (await statesIn(server, queue))[0] === 'completed')
    assert.equal(await server.app.jobs.send(null, queue.name, {}, { id }), null)
    assert.deepEqual(await statesIn(server, queue), ['completed'])
  })

  test('a delayed job does not start before its time', async t => {
    const begun: number[] = []
    const queue = newQueue(async () => void begun.push(performance.now()))
    const { app } = await start(t, [queue])
    const sent = performance.now()
    await app.jobs.send(null, queue.name, {}, { after: 1 })
    await eventually(() => begun.length === 1)
    assert.ok(begun[0]! - sent >= 950, `it has waited for ${begun[0]! - sent} ms`)
  })

  test('hostile data and keys arrive as they were sent', async t => {
    const seen: object[] = []
    const queue = newQueue(async data => void seen.push(data), { serial: true })
    const server = await start(t, [queue])
    const hostile = `'; drop table users; -- $1 \${x} \u{1F600} "\\ é`
    await server.app.jobs.send(null, queue.name, { hostile, list: [1, '2', null] }, { key: hostile })
    await eventually(() => seen.length === 1)
    assert.deepEqual(seen[0], { hostile, list: [1, '2', null] })
    assert.equal((await server.app.jobs.list({ queue: queue.name }, 1))[0]!.key, hostile)
  })

  test('without a database nothing can be sent, and the refusal says why', async t => {
    const app = Fastify()
    t.after(() => app.close())
    await app.register(jobs, { queues: [newQueue(async () => {})] })
    await app.jobs.start()
    await assert.rejects(app.jobs.send(null, 'any', {}), (error: AppError) => {
      assert.equal(error.code, 'NOT_CONFIGURED')
      return true
    })
  })

  test('invalid queues fail the boot by name', async () => {
    for (const [wrong, message] of [
      [{ name: 'Two Words' }, /queue "Two Words": its name/],
      [{ concurrency: 0 }, /concurrency/],
      [{ timeout: 100_000 }, /timeout/],
      [{ retries: 1.5 }, /retries/],
      [{ retryDelay: -1 }, /retryDelay/]
    ] as const) {
      const queue = { ...newQueue(async () => {}), ...wrong }
      await assert.rejects(async () => Fastify().register(jobs, { queues: [queue] }), message)
    }
  })
})

suite('attempts', () => {
  test('a failing job is retried, and is dead after its last attempt, until an operator retries it', async t => {
    const attempts: Pick<JobContext, 'attempt' | 'isLastAttempt'>[] = []
    let isMended = false
    const queue = newQueue(
      async (_data, { attempt, isLastAttempt }) => {
        attempts.push({ attempt, isLastAttempt })
        if (!isMended) throw new Error('fetch of https://me:hunter2@host/x failed\nAuthorization: Bearer abc.def')
      },
      { retries: 1 }
    )
    const server = await start(t, [queue])
    const { app } = server
    await app.jobs.send(null, queue.name, {})
    await eventually(async () => (await statesIn(server, queue))[0] === 'dead')
    assert.deepEqual(attempts, [
      { attempt: 1, isLastAttempt: false },
      { attempt: 2, isLastAttempt: true }
    ])
    const [dead] = await app.jobs.list({ queue: queue.name, state: 'dead' }, 10)
    assert.equal(dead!.error, 'fetch of https://[redacted]@host/x failed Authorization: Bearer [redacted]')
    assert.deepEqual([dead!.attempt, dead!.finishedAt instanceof Date], [2, true])

    isMended = true
    assert.equal(await app.db.transaction(tx => app.jobs.retry(tx, dead!.id)), queue.name)
    await eventually(async () => (await statesIn(server, queue))[0] === 'completed')
    assert.deepEqual(attempts[2], { attempt: 3, isLastAttempt: true })
    await assert.rejects(
      app.db.transaction(tx => app.jobs.retry(tx, dead!.id)),
      (error: AppError) => error.code === 'CONFLICT'
    )
    assert.equal(await app.db.transaction(tx => app.jobs.retry(tx, `${queue.name}.${randomUUID()}`)), null)
    assert.deepEqual(await outcomesOf(server, queue), { completed: 1, dead: 1, retried: 1 })
  })

  test('an attempt that takes too long is aborted, and counts as failed', async t => {
    let reason: unknown
    const queue = newQueue(
      async (_data, { signal }) => {
        await aborted(signal).catch(why => {
          reason = why
        })
      },
      { timeout: 0.2 }
    )
    const server = await start(t, [queue])
    await server.app.jobs.send(null, queue.name, {})
    await eventually(async () => (await statesIn(server, queue))[0] === 'dead')
    assert.ok(reason instanceof AttemptEnded && reason.reason === 'timeout')
  })

  test('an attempt that does not end is abandoned, and its slot is free only when it ends', async t => {
    const stuck = Promise.withResolvers<void>()
    let begun = 0
    const queue = newQueue(() => (++begun === 1 ? stuck.promise : Promise.resolve()), { timeout: 0.1, concurrency: 1 })
    const server = await start(t, [queue])
    await server.app.jobs.send(null, queue.name, {})
    await eventually(async () => (await statesIn(server, queue))[0] === 'dead')
    await server.app.jobs.send(null, queue.name, {})
    await stays(() => begun === 1, 200)
    stuck.resolve()
    await eventually(() => begun === 2)
  })

  test('a cancelled job is aborted on the instance that runs it; one that waits never begins', async t => {
    const ends: unknown[] = []
    const queue = newQueue(
      async (_data, { signal }) => {
        await aborted(signal).catch(why => {
          ends.push(why)
          throw why
        })
      },
      { concurrency: 1, retries: 3 }
    )
    const pollInterval = 60_000
    const server = await start(t, [queue], { pollInterval })
    const other = await start(t, [queue], { work: false })
    const running = await other.app.jobs.send(null, queue.name, {})
    await eventually(async () => (await statesIn(server, queue))[0] === 'active')
    const waiting = await other.app.jobs.send(null, queue.name, {})

    const before = performance.now()
    assert.equal(await other.app.db.transaction(tx => other.app.jobs.cancel(tx, queue.name, waiting!)), true)
    assert.equal(await other.app.jobs.cancel(null, queue.name, running!), true)
    await eventually(() => ends.length === 1)
    assert.ok(performance.now() - before < pollInterval / 2)
    assert.equal((ends[0] as AttemptEnded).reason, 'cancelled')
    assert.deepEqual(await statesIn(server, queue), ['cancelled', 'cancelled'])
    assert.equal(await other.app.jobs.cancel(null, queue.name, running!), false)
    await eventually(async () => (await outcomesOf(server, queue)).cancelled === 1)
    assert.equal(ends.length, 1)
  })

  test('a missed cancellation is detected when the claim is renewed', async t => {
    let reason: AttemptEnded | undefined
    const queue = newQueue(async (_data, { signal }) => {
      await aborted(signal).catch(why => {
        reason = why
      })
    })
    const server = await start(t, [queue], { lease: 1 })
    const id = await server.app.jobs.send(null, queue.name, {})
    await eventually(async () => (await statesIn(server, queue))[0] === 'active')
    await server.app.db.execute(sql`update pgboss.job set state = 'cancelled' where id = ${id}`)
    await eventually(() => reason !== undefined)
    assert.equal(reason!.reason, 'cancelled')
  })
})

suite('order', () => {
  test('express jobs wait neither for long jobs nor for those behind them', async t => {
    const begun: string[] = []
    const queue = newQueue(
      async (data, { signal }) => {
        const { name, isLong } = data as { name: string; isLong?: true }
        begun.push(name)
        if (isLong) await aborted(signal)
      },
      { concurrency: 1, expressConcurrency: 1, serial: true }
    )
    const { app } = await start(t, [queue])
    const send = (name: string, express: boolean) =>
      app.jobs.send(
        null,
        queue.name,
        { name, ...(name.startsWith('long') && { isLong: true }) },
        { key: name, express }
      )
    const long = await send('long', false)
    await send('next', false)
    await eventually(() => begun.includes('long'))
    await send('rollback', true)
    await send('restore', true)
    await eventually(() => begun.length === 3)
    assert.deepEqual(begun, ['long', 'rollback', 'restore'])

    await send('long express', true)
    await eventually(() => begun.includes('long express'))
    await app.jobs.cancel(null, queue.name, long!)
    await eventually(() => begun.includes('next'))
    assert.deepEqual(begun.slice(3), ['long express', 'next'], 'nor do the others wait for them')
  })

  test('without slots of their own, express jobs are first in line', async t => {
    const begun: string[] = []
    const queue = newQueue(async data => void begun.push((data as { name: string }).name), { concurrency: 1 })
    const sender = await start(t, [queue], { work: false })
    await sender.app.jobs.send(null, queue.name, { name: 'first' })
    await sender.app.jobs.send(null, queue.name, { name: 'express' }, { express: true })
    await start(t, [queue])
    await eventually(() => begun.length === 2)
    assert.deepEqual(begun, ['express', 'first'])
  })

  test('jobs with one key never run concurrently, across two instances, and all of them run', async t => {
    const done: Record<string, number[]> = { a: [], b: [], c: [] }
    const running = new Set<string>()
    let together = 0
    const queue = newQueue(
      async data => {
        const { key, n } = data as { key: string; n: number }
        assert.ok(!running.has(key), `two jobs of ${key} at a time`)
        running.add(key)
        together = Math.max(together, running.size)
        await eventually(() => together > 1)
        done[key]!.push(n)
        running.delete(key)
      },
      { serial: true }
    )
    const [server] = await Promise.all([start(t, [queue]), start(t, [queue])])
    for (let n = 0; n < 8; n++)
      for (const key of Object.keys(done)) await server.app.jobs.send(null, queue.name, { key, n }, { key })
    await eventually(() => Object.values(done).every(({ length }) => length === 8))
    for (const order of Object.values(done)) assert.deepEqual(order.toSorted(), [0, 1, 2, 3, 4, 5, 6, 7])
  })

  test('of coalesced jobs one runs, and one waits for all others', async t => {
    const gate = Promise.withResolvers<void>()
    let begun = 0
    const queue = newQueue(
      async () => {
        begun++
        await gate.promise
      },
      { coalesced: true }
    )
    const server = await start(t, [queue])
    const send = (key: string) => server.app.jobs.send(null, queue.name, {}, { key })
    await send('a')
    await eventually(() => begun === 1)
    assert.ok(await send('a'))
    for (let n = 0; n < 3; n++) assert.equal(await send('a'), null)
    assert.ok(await send('b'))
    gate.resolve()
    await eventually(async () => (await statesIn(server, queue)).every(state => state === 'completed'))
    assert.equal(begun, 3)
  })

  test('two instances share the work, and neither runs more of it than it has slots for', async t => {
    const running = [0, 0]
    let haveMet = false
    const shares = [0, 0]
    const name = newQueue(async () => {}).name
    const queueOf = (who: 0 | 1): JobQueue => ({
      ...newQueue(async () => {
        assert.ok(++running[who]! <= 3)
        haveMet ||= running.every(count => count > 0)
        await eventually(() => haveMet)
        running[who]!--
        shares[who]!++
      }),
      name,
      concurrency: 3
    })
    const [server] = await Promise.all([start(t, [queueOf(0)]), start(t, [queueOf(1)])])
    await Promise.all(Array.from({ length: 60 }, () => server.app.jobs.send(null, name, {})))
    await eventually(() => shares[0]! + shares[1]! === 60)
    assert.ok(Math.min(...shares) > 0, `shared ${shares}`)
  })

  test('queues that pause during maintenance wait until it ends, and the others do not', async t => {
    let isClosed = true
    const done: string[] = []
    const resting = newQueue(async () => void done.push('resting'), { pausedInMaintenance: true })
    const tireless = newQueue(async () => void done.push('tireless'))
    const { app } = await start(t, [resting, tireless], { isPaused: () => isClosed })
    await app.jobs.send(null, resting.name, {})
    await app.jobs.send(null, tireless.name, {})
    await eventually(() => done.length === 1)
    await stays(() => done.join() === 'tireless', 150)
    isClosed = false
    await eventually(() => done.length === 2)
  })

  test('a scheduled queue runs once at each of its times, however many instances there are', async t => {
    const runs: number[] = []
    const queue = newQueue(async () => void runs.push(Date.now()), { schedule: '* * * * * *' })
    const [server] = await Promise.all([start(t, [queue]), start(t, [queue])])
    await eventually(() => runs.length >= 3)
    const listed = await server.app.jobs.list({ queue: queue.name }, 100)
    const seconds = listed.map(({ createdAt }) => Math.floor(createdAt.getTime() / 1_000))
    assert.equal(new Set(listed.map(({ id }) => id)).size, listed.length)
    assert.ok(new Set(seconds).size >= seconds.length - 1, `once a second, but for the start: ${seconds}`)
    const { lines } = await start(t, [newQueue(async () => {}, { schedule: 'whenever' })])
    await eventually(() => lines.some(({ err }) => /whenever/.test((err as Error | undefined)?.message ?? '')))
  })
})

test('waiting jobs are counted in metrics', async t => {
  const queue = newQueue(async () => {})
  const server = await start(t, [queue], { work: false })
  for (let n = 0; n < 3; n++) await server.app.jobs.send(null, queue.name, {})
  assert.match(await server.registry.metrics(), new RegExp(`^rhone_jobs_waiting\\{queue="${queue.name}"\\} 3$`, 'm'))
})

test('jobs are listed newest first, page by page, by queue and by state', async t => {
  const queue = newQueue(async () => {})
  const other = newQueue(async () => {})
  const { app } = await start(t, [queue, other], { work: false })
  await app.db.transaction(async tx => {
    for (let n = 0; n < 3; n++) await app.jobs.send(tx, queue.name, { secret: 'hidden' }, { key: `k${n}` })
    await app.jobs.send(tx, other.name, {})
  })
  const all = await app.jobs.list({ queue: queue.name }, 10)
  assert.equal(all.length, 3)
  assert.ok(!JSON.stringify(all).includes('hidden'))
  const first = await app.jobs.list({ queue: queue.name }, 2)
  const second = await app.jobs.list({ queue: queue.name }, 2, first[1]!.position)
  assert.deepEqual([...first, ...second], all)
  assert.equal((await app.jobs.list({ queue: queue.name, state: 'waiting' }, 10)).length, 3)
  assert.equal((await app.jobs.list({ queue: queue.name, state: 'dead' }, 10)).length, 0)
  assert.ok((await app.jobs.list({}, 200)).some(job => job.queue === other.name))
})
