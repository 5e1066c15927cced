import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { Registry } from '@platformatic/prom-client'
import Fastify from 'fastify'
import secrets, { type SecretsDeps } from '../../plugins/secrets.ts'
import { eventually } from '../support/eventually.ts'

/** A source that the test changes, and the applied secrets. */
async function server(t: TestContext, input: Partial<SecretsDeps> & { interval?: number } = {}) {
  const world = {
    values: new Map([['TOKEN', 'first']]),
    isAway: false,
    loads: 0,
    taken: [] as string[][],
    refused: [] as string[][],
    tell: () => {}
  }
  const app = Fastify()
  await app.register(secrets, {
    interval: 60_000,
    settle: 0,
    initial: new Map(world.values),
    async load() {
      world.loads++
      if (world.isAway) throw new Error('sealed')
      return new Map(world.values)
    },
    watch(onChange) {
      world.tell = onChange
      return () => {
        world.tell = () => {}
      }
    },
    async take(values, changed) {
      if ([...values.values()].includes('unusable')) throw new Error('TOKEN: does not work')
      world.taken.push([...changed])
    },
    onRefused: changed => void world.refused.push([...changed]),
    ...input
  })
  t.after(() => app.close())
  await app.ready()
  return { app, world }
}

test('without a source there is nothing to follow', async t => {
  const app = Fastify()
  t.after(() => app.close())
  await app.register(secrets)
  await app.ready()
  await app.secrets.refresh()
})

test('a wrong option fails the boot by its name', async () => {
  const app = Fastify()
  app.register(secrets, { interval: 0 })
  await assert.rejects(async () => app.ready(), /rhone-secrets: option "interval"/)
})

test('changed secrets of the source are applied by name, and unchanged ones are not', async t => {
  const { world } = await server(t)
  world.values.set('TOKEN', 'second').set('OTHER', 'new')
  world.tell()
  await eventually(() => world.taken.length > 0)
  world.tell()
  await eventually(() => world.loads > 1)
  assert.deepEqual(world.taken, [['OTHER', 'TOKEN']])
})

test('a change that no watch reports is found by the poll', async t => {
  const { world } = await server(t, { interval: 10, watch: () => () => {} })
  world.values.set('TOKEN', 'second')
  await eventually(() => world.taken.length > 0)
})

test('a removed secret is a change, too', async t => {
  const { app, world } = await server(t)
  world.values.delete('TOKEN')
  await app.secrets.refresh()
  assert.deepEqual(world.taken, [['TOKEN']])
})

test('while the source is down, current secrets stay in use, and the age gauge grows', async t => {
  const registry = new Registry()
  const { app, world } = await server(t, { registry })
  world.isAway = true
  await app.secrets.refresh()
  const age = async () => ageIn(await registry.metrics())
  const before = await age()
  assert.ok((await eventually(age, now => now > before)) > before)
  world.isAway = false
  world.values.set('TOKEN', 'second')
  await app.secrets.refresh()
  assert.deepEqual(world.taken, [['TOKEN']])
  assert.ok((await age()) < before + 60)
})

const ageIn = (text: string): number => Number(/^rhone_secrets_source_age_seconds (\S+)$/m.exec(text)?.[1])

test('an unusable version is refused and reported once, and the next valid one is applied', async t => {
  const { app, world } = await server(t)
  world.values.set('TOKEN', 'unusable')
  await app.secrets.refresh()
  await app.secrets.refresh()
  assert.deepEqual(world.refused, [['TOKEN']])
  assert.deepEqual(world.taken, [])
  world.values.set('TOKEN', 'good')
  await app.secrets.refresh()
  assert.deepEqual(world.taken, [['TOKEN']])
})

test('a report that fails changes nothing', async t => {
  const { app, world } = await server(t, { onRefused: () => Promise.reject(new Error('no database')) })
  world.values.set('TOKEN', 'unusable')
  await app.secrets.refresh()
  world.values.set('TOKEN', 'good')
  await app.secrets.refresh()
  assert.deepEqual(world.taken, [['TOKEN']])
})

test('only one read runs at a time: a request during a read gets a later one', async t => {
  const gates: (() => void)[] = []
  let value = 'first'
  const seen: string[] = []
  const { app } = await server(t, {
    async load() {
      const current = value
      await new Promise<void>(open => gates.push(open))
      return new Map([['TOKEN', current]])
    },
    take: async values => void seen.push(values.get('TOKEN')!)
  })
  const first = app.secrets.refresh()
  value = 'second'
  const later = [app.secrets.refresh(), app.secrets.refresh()]
  assert.equal(gates.length, 1)
  gates[0]!()
  await first
  await eventually(() => gates.length === 2)
  gates[1]!()
  await Promise.all(later)
  assert.deepEqual([seen, gates.length], [['second'], 2])
})

test('closing ends the watch, releases the session and stops reading', async t => {
  const closed: string[] = []
  const { app, world } = await server(t, { interval: 10, close: async () => void closed.push('session') })
  await eventually(() => world.loads > 1)
  await app.close()
  const { loads } = world
  world.tell()
  await app.secrets.refresh()
  assert.deepEqual([world.loads, closed], [loads, ['session']])
})
