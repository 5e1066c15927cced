import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type TestContext, test } from 'node:test'
import { eq } from 'drizzle-orm'
import Fastify from 'fastify'
import { appLogs, apps, deployments } from '../../../drizzle/schema.ts'
import type { DeployedApp, Deployer, RuntimeLine } from '../../../integrations/deployer/port.ts'
import database from '../../../plugins/database/index.ts'
import { createApp } from '../../../src/domain/apps/apps.ts'
import logCollector from '../../../src/workflows/deploying/log-collector.ts'
import { addTeam } from '../../domain/support.ts'
import { setAhead } from '../../support/clock.ts'
import { freshDatabase, terminateBackends } from '../../support/database.ts'
import { eventually } from '../../support/eventually.ts'

type Said = RuntimeLine | { dropped: number }

/** A fake deployer with logs: it keeps all lines, and can disconnect. */
class TalkingMachines {
  readonly said: Said[] = []
  readonly streams = new Set<AbortController>()
  #added = Promise.withResolvers<void>()

  say(appId: string, message: string, more: Partial<RuntimeLine> = {}): void {
    this.add({
      appId,
      deploymentId: null,
      at: new Date(),
      level: 'info',
      source: 'app',
      region: 'iad',
      instance: 'i1',
      message,
      ...more
    })
  }

  add(line: Said): void {
    this.said.push(line)
    this.#added.resolve()
    this.#added = Promise.withResolvers()
  }

  hangUp(): void {
    for (const stream of this.streams) stream.abort(new Error('the line is dead'))
  }

  readonly logs: Deployer['logs'] = async function* (
    this: TalkingMachines,
    app: DeployedApp,
    since: Date | null,
    signal: AbortSignal
  ) {
    const cut = new AbortController()
    this.streams.add(cut)
    const ended = once(AbortSignal.any([signal, cut.signal]), 'abort')
    try {
      for (let next = 0; !signal.aborted; ) {
        cut.signal.throwIfAborted()
        const line = this.said[next]
        if (line === undefined) await Promise.race([this.#added.promise, ended])
        else next++
        if (line !== undefined && ('dropped' in line || (line.appId === app.id && line.at >= (since ?? 0)))) yield line
      }
    } finally {
      this.streams.delete(cut)
    }
  }.bind(this)
}

async function instance(t: TestContext, url: string, machines: TalkingMachines) {
  const app = Fastify()
  await app.register(database, { url })
  await app.register(logCollector, {
    deployer: { logs: machines.logs } as unknown as Deployer,
    interval: 100
  })
  t.after(() => app.close())
  await app.ready()
  return app
}

async function addLiveApp(app: Awaited<ReturnType<typeof instance>>, name = 'x'): Promise<string> {
  const { id } = await createApp(app.db, (await addTeam(app.db)).id, { name })
  await app.db.insert(deployments).values({ appId: id, status: 'live' })
  return id
}

const keptOf = async (app: Awaited<ReturnType<typeof instance>>, appId: string) => {
  const rows = await app.db.select().from(appLogs).where(eq(appLogs.appId, appId)).orderBy(appLogs.id)
  return rows.map(({ message }) => message)
}

test('the output of an app is stored from its first line, even before a reader connects', async t => {
  const machines = new TalkingMachines()
  const app = await instance(t, await freshDatabase(t), machines)
  const id = await addLiveApp(app)
  machines.say(id, 'first')
  await eventually(
    () => keptOf(app, id),
    kept => kept.length === 1
  )
  machines.say(id, 'second')
  await eventually(
    () => keptOf(app, id),
    kept => kept.join() === 'first,second'
  )
})

test('a dead log stream is reconnected without duplicates or gaps', async t => {
  const machines = new TalkingMachines()
  const app = await instance(t, await freshDatabase(t), machines)
  const id = await addLiveApp(app)
  for (let i = 0; i < 6; i++) {
    machines.say(id, `line ${i}`)
    if (i % 2 === 1) machines.say(id, 'again and again', { at: new Date(0) })
    // When the connection dies, half of them are stored, and the others may not be.
    if (i % 2 === 1)
      await eventually(
        () => keptOf(app, id),
        kept => kept.includes(`line ${i}`)
      )
    if (i === 2 || i === 4) machines.hangUp()
  }
  machines.say(id, 'the same')
  machines.say(id, 'the same')
  await eventually(
    () => keptOf(app, id),
    kept => kept.filter(message => message === 'the same').length === 2
  )
  const kept = (await keptOf(app, id)).filter(message => message.startsWith('line'))
  assert.deepEqual(kept, ['line 0', 'line 1', 'line 2', 'line 3', 'line 4', 'line 5'])
})

test('one of two instances collects, and the other takes over if the first stops or loses the database', async t => {
  const machines = new TalkingMachines()
  const url = await freshDatabase(t)
  const [first, second] = [await instance(t, url, machines), await instance(t, url, machines)]
  const id = await addLiveApp(first)
  machines.say(id, 'one')
  await eventually(
    () => keptOf(second, id),
    kept => kept.length === 1
  )
  assert.equal(machines.streams.size, 1)

  await terminateBackends(url)
  machines.say(id, 'two')
  await eventually(
    () => keptOf(second, id).catch(() => []),
    kept => kept.length === 2
  )

  await first.close()
  machines.say(id, 'three')
  await eventually(
    () => keptOf(second, id),
    kept => kept.length === 3
  )
  assert.deepEqual(await keptOf(second, id), ['one', 'two', 'three'])
})

test('an app that floods its log is slowed down, and the log says so', async t => {
  const machines = new TalkingMachines()
  const app = await instance(t, await freshDatabase(t), machines)
  const id = await addLiveApp(app)
  for (let i = 0; i < 5_000; i++) machines.say(id, `flood ${i}`)
  machines.add({ dropped: 7 })
  await eventually(
    () => keptOf(app, id),
    kept => kept.length >= 500
  )
  setAhead(t, performance, 1_100)
  machines.say(id, 'calm')
  const kept = await eventually(
    () => keptOf(app, id),
    kept => kept.includes('calm')
  )
  assert.ok(kept.length < 3_000, String(kept.length))
  const dropped = await eventually(
    async () => (await keptOf(app, id)).map(message => Number(/^(\d+) lines were dropped/.exec(message)?.[1] ?? 0)),
    counts => counts.some(count => count > 0)
  )
  const flood = kept.filter(message => message.startsWith('flood')).length
  assert.equal(dropped.reduce((sum, count) => sum + count, 0) + flood, 5_007)
})

test('the log stream of a deleted app is closed', async t => {
  const machines = new TalkingMachines()
  const app = await instance(t, await freshDatabase(t), machines)
  const id = await addLiveApp(app)
  await eventually(
    () => machines.streams.size,
    size => size === 1
  )
  await app.db.delete(apps).where(eq(apps.id, id))
  await eventually(
    () => machines.streams.size,
    size => size === 0
  )
})
