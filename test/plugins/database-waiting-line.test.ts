import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { WaitingLine } from '../../plugins/database/waiting-line.ts'
import { setAhead, stopClock } from '../support/clock.ts'

const late = () => new Error('late')

/** A line whose waiters wait for 100 ms, and a function that lets time pass. */
function start(t: TestContext) {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  stopClock(t, performance)
  const pass = (milliseconds: number) => {
    setAhead(t, performance, milliseconds)
    t.mock.timers.tick(milliseconds)
  }
  const line = new WaitingLine<string>(100, late)
  const outcomes: string[] = []
  const join = (name: string, shares = false) =>
    line.join(shares).then(
      value => outcomes.push(`${name} gets ${value}`),
      error => outcomes.push(`${name}: ${error.message}`)
    )
  return { line, join, outcomes, pass }
}

test('waiters are served in order of arrival', async t => {
  const { line, join, outcomes } = start(t)
  const joined = [join('a'), join('b')]
  assert.deepEqual([line.length, line.serve('1'), line.serve('2'), line.serve('3')], [2, true, true, false])
  await Promise.all(joined)
  assert.deepEqual(outcomes, ['a gets 1', 'b gets 2'])
})

test('each waiter waits for the same time, however many were served before it', async t => {
  const { line, join, outcomes, pass } = start(t)
  const a = join('a')
  pass(40)
  const b = join('b')
  line.serve('1')
  await a
  pass(80)
  assert.equal(line.length, 1)
  const c = join('c')
  pass(30)
  await b
  assert.deepEqual(outcomes, ['a gets 1', 'b: late'])
  pass(100)
  await c
  assert.deepEqual(outcomes.slice(2), ['c: late'])
  assert.equal(line.length, 0)
})

test('a line that was empty for long lets its next waiter wait as long as any', async t => {
  const { line, join, outcomes, pass } = start(t)
  const a = join('a')
  line.serve('1')
  await a
  pass(1_000)
  const b = join('b')
  pass(80)
  assert.equal(line.length, 1)
  pass(30)
  await b
  assert.deepEqual(outcomes, ['a gets 1', 'b: late'])
})

test('a dismissed line rejects all its waiters, and takes new ones', async t => {
  const { line, join, outcomes } = start(t)
  const joined = [join('a', true), join('b')]
  assert.equal(line.firstShares, true)
  line.dismiss(new Error('gone'))
  await Promise.all(joined)
  assert.deepEqual([outcomes, line.length, line.firstShares], [['a: gone', 'b: gone'], 0, false])
  const c = join('c')
  line.serve('1')
  await c
  assert.equal(outcomes[2], 'c gets 1')
})
