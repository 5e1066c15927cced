import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { Bag, type Member } from '../../plugins/database/bag.ts'
import { freshDatabase } from '../support/database.ts'

const ROWS_LEFT = join(import.meta.dirname, '../support/rows-left.ts')

test('rows of a query on a connection that was idle are freed as young objects', async t => {
  const roomy = ['--min-semi-space-size=32', '--max-semi-space-size=32']
  const flags = ['--expose-gc', '--no-allocation-site-pretenuring', ...roomy]
  const { stdout } = await promisify(execFile)(process.execPath, [...flags, ROWS_LEFT, await freshDatabase(t)])
  const bytes = JSON.parse(stdout) as number[]
  // A full collection, which may happen at any time, makes one of them negative.
  const median = bytes.toSorted((a, b) => a - b)[2]!
  assert.ok(median < 100_000, `bytes: ${bytes}`)
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
