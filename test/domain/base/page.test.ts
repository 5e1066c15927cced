import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { parseCursor, toPage } from '../../../src/domain/base/page.ts'

const row = (n: number) => ({
  id: `00000000-0000-4000-8000-00000000000${n}`,
  at: `170000000000000${n}`,
  name: `row ${n}`
})
const encode = (text: string) => Buffer.from(text).toString('base64url')

test('a full page ends with a cursor that leads to the last row shown', () => {
  const { items, nextCursor } = toPage([row(3), row(2), row(1)], 2)
  assert.deepEqual(items, [row(3), row(2)])
  assert.deepEqual(parseCursor(nextCursor!), { at: row(2).at, id: row(2).id })
})

test('the last page has no cursor, even if it is full, and neither has an empty one', () => {
  assert.equal(toPage([row(2), row(1)], 2).nextCursor, null)
  assert.deepEqual(toPage([], 2), { items: [], nextCursor: null })
})

test('a missing cursor means the first page', () => {
  assert.equal(parseCursor(undefined), undefined)
})

test('a cursor that no page has given is a validation error', () => {
  const invented = ['x', 'AAAA', encode('.'), encode(`1.${'0'.repeat(36)}`), encode(`99999999999999999.${row(1).id}`)]
  invented.push(encode(`-1.${row(1).id}`), encode(`1.${row(1).id}\n`), encode(`1.${row(1).id}'; --`), encode('\0'))
  for (const cursor of invented) assert.throws(() => parseCursor(cursor), { code: 'VALIDATION_ERROR' }, cursor)
})

test('any text is either a position or a validation error', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), text => {
      assert.throws(() => parseCursor(text), { code: 'VALIDATION_ERROR' })
    })
  )
})
