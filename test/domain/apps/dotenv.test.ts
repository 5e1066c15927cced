import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { AppError } from '../../../plugins/lib/errors.ts'
import { parseDotenv } from '../../../src/domain/apps/dotenv.ts'

const detailOf = (text: string) => {
  try {
    parseDotenv(text)
  } catch (error) {
    return (error as AppError).detail
  }
}

test('lines are read as .env files have them: comments, quotes, export, blank lines and values over several lines', () => {
  const text = `# of the shop
A=1
export B=two words
C="with # and = inside"
D='single'

KEY="-----BEGIN
MIDDLE
END-----"
EMPTY=
`
  assert.deepEqual(Object.fromEntries(parseDotenv(text)), {
    A: '1',
    B: 'two words',
    C: 'with # and = inside',
    D: 'single',
    KEY: '-----BEGIN\nMIDDLE\nEND-----',
    EMPTY: ''
  })
})

test('a line that is no assignment is named by its number, and a wrong name is repeated', () => {
  assert.equal(detailOf('A=1\nnonsense'), 'lines: line 2 must have the form NAME=value')
  assert.match(detailOf('A=1\r\n\r\nlower=2') ?? '', /^lines: line 3: "lower" is not a valid name: use capital letters/)
  assert.match(detailOf('=2') ?? '', /line 1/)
})

test('the last of two values of a name counts, and line ends of Windows are no part of a value', () => {
  assert.deepEqual(parseDotenv('A=1\r\nA=2\r\n'), [['A', '2']])
})

test('any text is read or refused in words, and what is read has proper names', () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom('A', '=', '"', "'", '\n', '#', ' ', 'b', '\r', '`') }), text => {
      try {
        for (const [key] of parseDotenv(text)) assert.match(key, /^[A-Z][A-Z0-9_]*$/)
      } catch (error) {
        assert.equal((error as AppError).code, 'VALIDATION_ERROR')
      }
    })
  )
})
