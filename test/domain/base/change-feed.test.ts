import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { ChangeFeed, SharedReads, WakeSignal } from '../../../src/domain/base/change-feed.ts'

/** Longer than any test takes. */
const NEVER = 2 ** 30
const signal = () => new AbortController().signal
const turn = () => new Promise(setImmediate)

/** Whether it has settled within a turn of the event loop. */
async function isOver(waiting: Promise<unknown>): Promise<boolean> {
  let over = false
  void waiting.then(() => (over = true))
  await turn()
  return over
}

/** A database whose notifications are sent by the test. */
function database() {
  const listeners = new Map<string, { onNotify: (payload: string) => void; onResync: () => void }>()
  const listen = async (channel: string, onNotify: (payload: string) => void, onResync: () => void) => {
    listeners.set(channel, { onNotify, onResync })
    return async () => void listeners.delete(channel)
  }
  return { listen, listeners }
}

describe('a wake signal', () => {
  it('wakes a waiter once', async () => {
    const wake = new WakeSignal()
    const first = wake.wait(NEVER, signal())
    assert.equal(await isOver(first), false)
    wake.set()
    await first
    assert.equal(await isOver(wake.wait(NEVER, signal())), false)
  })

  it('set without a waiter, wakes exactly one later waiter immediately, however often it was set', async () => {
    const wake = new WakeSignal()
    wake.set()
    wake.set()
    await wake.wait(NEVER, signal())
    assert.equal(await isOver(wake.wait(NEVER, signal())), false)
  })

  it('may be missed: a waiter continues after the maximum time, or when its wait is aborted', async () => {
    await new WakeSignal().wait(1, signal())
    const calledOff = new AbortController()
    const waiting = new WakeSignal().wait(NEVER, calledOff.signal)
    calledOff.abort()
    await waiting
    await new WakeSignal().wait(NEVER, AbortSignal.abort())
  })
})

describe('a change feed', () => {
  it('wakes only the subscribers of the topic', async () => {
    const topic = fc.constantFrom('a', 'b', 'c')
    await fc.assert(
      fc.asyncProperty(
        fc.array(topic, { maxLength: 6 }),
        fc.array(topic, { maxLength: 3 }),
        async (subscribed, changed) => {
          const { listen, listeners } = database()
          const feed = new ChangeFeed(listen, { changes: payload => payload })
          const leaving = new AbortController()
          const wakes = subscribed.map(of => feed.subscribe(of, leaving.signal))
          for (const of of changed) listeners.get('changes')?.onNotify(of)
          const woken = await Promise.all(wakes.map(wake => isOver(wake.wait(NEVER, leaving.signal))))
          assert.deepEqual(
            woken,
            subscribed.map(of => changed.includes(of))
          )
          leaving.abort()
        }
      ),
      { numRuns: 50 }
    )
  })

  it('wakes all subscribers if a change may have been missed', async () => {
    const { listen, listeners } = database()
    const feed = new ChangeFeed(listen, { changes: payload => payload, ends: payload => payload })
    const wakes = ['a', 'b'].map(topic => feed.subscribe(topic, signal()))
    listeners.get('ends')!.onResync()
    assert.deepEqual(await Promise.all(wakes.map(wake => isOver(wake.wait(NEVER, signal())))), [true, true])
  })

  it('listens only while there is a subscriber', async () => {
    const { listen, listeners } = database()
    const feed = new ChangeFeed(listen, { changes: payload => payload })
    assert.equal(listeners.size, 0)
    const [first, second] = [new AbortController(), new AbortController()]
    feed.subscribe('a', first.signal)
    feed.subscribe('a', second.signal)
    first.abort()
    await turn()
    assert.equal(listeners.size, 1)
    second.abort()
    await turn()
    assert.equal(listeners.size, 0)
    feed.subscribe('a', signal())
    assert.equal(listeners.size, 1, 'again for the next subscriber')
  })
})

describe('shared reads', () => {
  it('are shared by readers of the same turn, but not by later ones', async () => {
    const reads = new SharedReads<number>()
    let count = 0
    const read = () => reads.read('a', async () => ++count)
    assert.deepEqual(await Promise.all([read(), read(), reads.read('b', async () => 10)]), [1, 1, 10])
    await turn()
    assert.equal(await read(), 2)
  })

  it('that fail do so for all sharing readers, but not for the next ones', async () => {
    const reads = new SharedReads<string>()
    const failing = () => reads.read('a', () => Promise.reject(new Error('away')))
    assert.deepEqual(
      (await Promise.allSettled([failing(), failing()])).map(({ status }) => status),
      ['rejected', 'rejected']
    )
    await turn()
    assert.equal(await reads.read('a', async () => 'back'), 'back')
  })
})
