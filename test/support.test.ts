import assert from 'node:assert/strict'
import { test } from 'node:test'
import { eventually } from './support/eventually.ts'

test('eventually gives the first answer that is as expected', async () => {
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

test('eventually takes any truthy answer where nothing else is expected', async () => {
  const answers = [null, 0, '', 'yes']
  assert.equal(await eventually(() => answers.shift()), 'yes')
})

test('eventually gives up, and says what it asked and what it heard last', async () => {
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

test('eventually passes on what its question throws', async () => {
  const failure = new Error('no')
  await assert.rejects(
    eventually(() => Promise.reject(failure)),
    error => error === failure
  )
})
