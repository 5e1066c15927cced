import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { FairQueue } from '../../../src/domain/accounts/fair-queue.ts'

/** A queue whose work is ended by the test, with a log of starts and ends. */
function observed(atOnce: number, mostWaiting: number) {
  const queue = new FairQueue({ atOnce, mostWaiting, retryAfter: 2 })
  const begun: string[] = []
  const refused: string[] = []
  const ends: (() => void)[] = []
  const ask = (caller: string, name: string) =>
    queue
      .run(caller, () => {
        begun.push(name)
        return new Promise<void>(resolve => ends.push(resolve))
      })
      .catch((error: { code: string }) => void refused.push(`${name} ${error.code}`))
  const endOne = async () => {
    ends.shift()!()
    await turn()
  }
  return { ask, begun, refused, endOne }
}

test('a caller who floods the queue does not delay others', async () => {
  const { ask, begun, endOne } = observed(1, 10)
  for (let n = 1; n <= 5; n++) void ask('flood', `flood ${n}`)
  void ask('ada', 'ada 1')
  void ask('ada', 'ada 2')
  for (let n = 0; n < 4; n++) await endOne()
  assert.deepEqual(begun, ['flood 1', 'flood 2', 'ada 1', 'flood 3', 'ada 2'])
})

test('when the queue is full, the caller with the most entries loses the last one, and the newcomer waits', async () => {
  const { ask, begun, refused, endOne } = observed(1, 3)
  for (let n = 1; n <= 5; n++) void ask('flood', `flood ${n}`)
  await turn()
  assert.deepEqual(refused, ['flood 5 SERVICE_UNAVAILABLE'])
  void ask('ada', 'ada')
  await turn()
  assert.deepEqual(refused, ['flood 5 SERVICE_UNAVAILABLE', 'flood 4 SERVICE_UNAVAILABLE'])
  for (let n = 0; n < 3; n++) await endOne()
  assert.deepEqual(begun, ['flood 1', 'flood 2', 'ada', 'flood 3'])
})

test('no more than the limit runs at once, and everything completes', async () => {
  const { ask, begun, endOne } = observed(2, 10)
  const all = ['a', 'b', 'c', 'd'].map(caller => ask(caller, caller))
  assert.deepEqual(begun, ['a', 'b'])
  for (let n = 0; n < 4; n++) await endOne()
  await Promise.all(all)
  assert.deepEqual(begun, ['a', 'b', 'c', 'd'])
})

test('failed work frees its place', async () => {
  const queue = new FairQueue({ atOnce: 1, mostWaiting: 1, retryAfter: 2 })
  const failing = queue.run('a', () => Promise.reject(new Error('broken')))
  const next = queue.run('b', async () => 'done')
  await assert.rejects(failing, /broken/)
  assert.equal(await next, 'done')
})
