import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Type } from '@sinclair/typebox'
import { validatorCompiler } from '../../src/kernel/validation.ts'

const Body = Type.Object(
  {
    slug: Type.String({ maxLength: 10, pattern: '^[a-z]+$', 'x-form': 'letters' }),
    size: Type.Optional(Type.Integer()),
    region: Type.Optional(Type.String({ default: 'iad' }))
  },
  { additionalProperties: false }
)

function validate(data: unknown, httpPart = 'body') {
  const check = validatorCompiler()({ schema: Body, method: 'POST', url: '/', httpPart })
  return { isValid: check(data), errors: (check as { errors?: { keyword: string; parentSchema?: object }[] }).errors }
}

test('all errors of a body are found, each with its schema', () => {
  const { isValid, errors = [] } = validate({ slug: 'A', size: '1', x: 1 })
  assert.equal(isValid, false)
  assert.deepEqual(errors.map(({ keyword }) => keyword).toSorted(), ['additionalProperties', 'pattern', 'type'])
  assert.ok(errors.every(({ parentSchema }) => parentSchema !== undefined))
})

test('each string is matched against its own pattern when errors are explained', () => {
  const body = Type.Object({ lower: Type.String({ pattern: '^[a-z]+$' }), upper: Type.String({ pattern: '^[A-Z]+$' }) })
  const check = validatorCompiler()({ schema: body, method: 'POST', url: '/', httpPart: 'body' })
  assert.equal(check({ lower: 'a', upper: 'a' }), false)
  const { errors = [] } = check as { errors?: { instancePath: string; parentSchema?: object }[] }
  assert.deepEqual(
    errors.map(({ instancePath, parentSchema }) => [instancePath, parentSchema]),
    [['/upper', body.properties.upper]]
  )
})

test('defaults are filled in, and only strings are parsed as numbers', () => {
  const body = { slug: 'a' }
  assert.equal(validate(body).isValid, true)
  assert.deepEqual(body, { slug: 'a', region: 'iad' })
  const query = { slug: 'a', size: '1' }
  assert.equal(validate(query, 'querystring').isValid, true)
  assert.deepEqual(query, { slug: 'a', size: 1, region: 'iad' })
})

test('a string that is too long is not matched against its pattern', () => {
  const { errors = [] } = validate({ slug: 'A'.repeat(100_000) })
  assert.deepEqual(
    errors.map(({ keyword }) => keyword),
    ['maxLength']
  )
})
