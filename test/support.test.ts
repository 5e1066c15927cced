import assert from 'node:assert/strict'
import { glob, readFile } from 'node:fs/promises'
import { test } from 'node:test'
import { setAhead } from './support/clock.ts'
import { eventually } from './support/eventually.ts'
import { repeatedly } from './support/repeatedly.ts'
import { stays } from './support/stays.ts'

test('eventually returns the first expected answer', async () => {
  let asked = 0
  assert.equal(
    await eventually(
      () => ++asked,
      answer => answer === 4
    ),
    4
  )
  assert.equal(asked, 4)
})

test('eventually accepts any truthy answer by default', async () => {
  const answers = [null, 0, '', 'yes']
  assert.equal(await eventually(() => answers.shift()), 'yes')
})

test('eventually fails with the question and the last answer', async () => {
  await assert.rejects(
    eventually(
      () => ({ state: 'stuck' }),
      ({ state }) => state === 'done',
      20
    ),
    /not within 20 ms: \(\) => \(\{ state: 'stuck' \}\); last answer: \{"state":"stuck"\}/
  )
})

test('eventually gives up on a question that is never answered', async () => {
  await assert.rejects(
    eventually(() => new Promise(() => {}), Boolean, 20),
    /last answer: none/
  )
})

test('eventually rethrows errors of its question', async () => {
  const failure = new Error('no')
  await assert.rejects(
    eventually(() => Promise.reject(failure)),
    error => error === failure
  )
})

test('stays fails as soon as its condition is false', async () => {
  let asked = 0
  await assert.rejects(
    stays(() => ++asked < 3, 60_000),
    /no longer: \(\) => \+\+asked < 3/
  )
  assert.equal(asked, 3)
  await stays(() => true, 10)
})

test('repeatedly runs until it is stopped or its test ends, and rethrows failures', async () => {
  let rounds = 0
  const first = repeatedly(new AbortController().signal, () => rounds++)
  await eventually(() => rounds > 3)
  await first.stop()
  const before = rounds
  await stays(() => rounds === before, 10)
  const over = new AbortController()
  const second = repeatedly(over.signal, () => rounds++)
  over.abort()
  await second.stop()
  assert.equal(rounds, before + 1)
  const failing = repeatedly(new AbortController().signal, () => Promise.reject(new Error('no')))
  await assert.rejects(failing.stop(), /no/)
})

test('a clock that was set ahead twice is ahead by the sum, and is reset after the test', async t => {
  const before = Date.now()
  await t.test('ahead', t => {
    setAhead(t, Date, 100_000)
    setAhead(t, Date, 100_000)
    assert.ok(Date.now() - before >= 200_000)
  })
  assert.ok(Date.now() - before < 100_000)
})

test('a test file uses top-level await only before its first test', async () => {
  const late: string[] = []
  for await (const file of glob('test/**/*.test.ts')) {
    const source = await readFile(file, 'utf8')
    const firstTest = source.search(/^(?:test|describe|it|suite)\(/m)
    if (/^(?:const .* = )?await /m.test(source.slice(firstTest))) late.push(file)
  }
  assert.deepEqual(late, [])
})
