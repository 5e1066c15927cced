import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { promisify } from 'node:util'
import { Bag, type Member } from '../../plugins/database/bag.ts'
import { freshDatabase } from '../support/database.ts'

const ROWS_LEFT = join(import.meta.dirname, '../support/rows-left.ts')

/** Bytes that some work leaves in the old generation: the median of five times. */
async function left(t: TestContext, work: string): Promise<number> {
  const flags = [
    '--expose-gc',
    '--no-allocation-site-pretenuring',
    '--min-semi-space-size=64',
    '--max-semi-space-size=64'
  ]
  const { stdout } = await promisify(execFile)(process.execPath, [...flags, ROWS_LEFT, work, await freshDatabase(t)])
  // A full collection, which may happen at any time, makes one of them negative.
  const bytes = (JSON.parse(stdout) as number[]).toSorted((a, b) => a - b)
  return bytes[2]!
}

test('rows of a query on a connection that was idle are freed as young objects', async t => {
  assert.ok((await left(t, 'many')) < 100_000)
})

test('queries one after another are freed as young objects, with their rows', async t => {
  assert.ok((await left(t, 'one')) < 100_000)
})

test('a bag gives all members back but those that were removed, from the beginning, the middle and the end', () => {
  const bag = new Bag<Member & { name: string }>()
  const members = ['a', 'b', 'c', 'd', 'e'].map(name => ({ name, place: 0 }))
  for (const member of members) bag.add(member)
  const left = () =>
    bag
      .all()
      .map(({ name }) => name)
      .sort()
      .join('')
  for (const [index, names] of [
    [1, 'acde'],
    [4, 'acd'],
    [0, 'cd'],
    [2, 'd'],
    [3, '']
  ] as const) {
    bag.remove(members[index]!)
    assert.equal(left(), names)
  }
  assert.equal(bag.size, 0)
})
