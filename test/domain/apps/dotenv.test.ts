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

test('the syntax of .env files is supported: comments, quotes, export, blank lines and multi-line values', () => {
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

test('an invalid line is reported by its number, and an invalid name is quoted', () => {
  assert.equal(detailOf('A=1\nnonsense'), 'lines: line 2 must have the form NAME=value')
  assert.match(detailOf('A=1\r\n\r\nlower=2') ?? '', /^lines: line 3: "lower" is not a valid name: use capital letters/)
  assert.match(detailOf('=2') ?? '', /line 1/)
})

test('the last value of a name counts, and Windows line ends are not part of values', () => {
  assert.deepEqual(parseDotenv('A=1\r\nA=2\r\n'), [['A', '2']])
})

test('any text is parsed or refused with an explanation, and parsed names are valid', () => {
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
