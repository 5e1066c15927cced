import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { Registry } from '@platformatic/prom-client'
import Fastify from 'fastify'
import chores, { type Chore } from '../../plugins/chores.ts'
import { mergeExpositions } from '../../plugins/metrics/exposition.ts'
import { gaugeRule } from '../../plugins/metrics/peers.ts'
import { stays } from '../support/stays.ts'

/** Resolves after a number of runs of the chore. */
function counted(times: number, run: () => Promise<void> = async () => {}) {
  const { promise: done, resolve } = Promise.withResolvers<void>()
  let count = 0
  const chore: Chore = {
    name: 'toy',
    every: 5,
    run() {
      count += 1
      if (count === times) resolve()
      return run()
    }
  }
  return { chore, done }
}

test('without chores it does nothing', async () => {
  const app = Fastify()
  await app.register(chores)
  await app.ready()
  await app.close()
})

test('a chore runs repeatedly, one run at a time', async t => {
  const app = Fastify()
  t.after(() => app.close())
  let atOnce = 0
  const { chore, done } = counted(5, async () => {
    atOnce += 1
    assert.equal(atOnce, 1)
    for (let turns = 0; turns < 10; turns++) await turn()
    atOnce -= 1
  })
  await app.register(chores, { chores: [chore] })
  await app.ready()
  await done
})

test('a failing chore is counted, logged once, and retried', async t => {
  const lines: string[] = []
  const app = Fastify({ logger: { level: 'error', stream: { write: line => void lines.push(line) } } })
  t.after(() => app.close())
  const registry = new Registry()
  const { chore, done } = counted(4, async () => Promise.reject(new Error('no luck')))
  await app.register(chores, { chores: [chore], registry })
  await app.ready()
  await done
  assert.match(await registry.metrics(), /rhone_chores_total\{chore="toy",outcome="failure"\} [34]/)
  assert.equal(lines.filter(line => line.includes('a chore failed')).length, 1)
})

test('no chore runs before the server is ready', async t => {
  const app = Fastify()
  t.after(() => app.close())
  let isReady = false
  let runs = 0
  const { chore, done } = counted(1, async () => void runs++)
  await app.register(chores, { chores: [chore], isReady: () => isReady })
  await app.ready()
  await stays(() => runs === 0)
  isReady = true
  await done
})

test('closing aborts a running chore and waits for it', async () => {
  const app = Fastify()
  let ended = false
  const { promise: begun, resolve: begin } = Promise.withResolvers<void>()
  const chore: Chore = {
    name: 'long',
    every: 1,
    async run(signal) {
      begin()
      if (!signal.aborted) await once(signal, 'abort')
      ended = true
    }
  }
  await app.register(chores, { chores: [chore] })
  await app.ready()
  await begun
  await app.close()
  assert.equal(ended, true)
})

test('a wrong option fails the boot', async () => {
  await assert.rejects(async () => Fastify().register(chores, { jitter: 2 }), /rhone-chores.*jitter/)
})

test('with two workers, the last success of a chore is the later one, and counts begin at zero', async t => {
  const texts: string[] = []
  const [earlier, later] = [1_700_000_000, 1_700_000_060]
  for (const seconds of [earlier, later]) {
    t.mock.timers.enable({ apis: ['Date'], now: seconds * 1_000 })
    const app = Fastify()
    const registry = new Registry()
    const { chore, done } = counted(1)
    await app.register(chores, { chores: [chore], registry })
    assert.match(await registry.metrics(), /rhone_chores_total\{chore="toy",outcome="failure"\} 0/)
    await app.ready()
    await done
    await app.close()
    texts.push(await registry.metrics())
    t.mock.timers.reset()
  }
  const registry = new Registry()
  await Fastify().register(chores, { registry })
  const merged = mergeExpositions(texts, name => gaugeRule(registry, name))
  assert.match(merged, new RegExp(`last_success_timestamp_seconds\\{chore="toy"\\} ${later}\\n`))
})
