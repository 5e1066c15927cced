import fc, { type Arbitrary } from 'fast-check'
import type { RouteOptions } from 'fastify'

/** The part of JSON Schema that TypeBox uses here. */
interface JsonSchema {
  type?: string | string[]
  enum?: unknown[]
  const?: unknown
  pattern?: string
  format?: string
  examples?: unknown[]
  minLength?: number
  maxLength?: number
  minimum?: number
  maximum?: number
  minItems?: number
  maxItems?: number
  items?: JsonSchema
  properties?: Record<string, JsonSchema>
  required?: string[]
  anyOf?: JsonSchema[]
}

/** Strings that often break parsers, databases and assumptions. */
const NASTY: readonly unknown[] = [
  null,
  true,
  false,
  0,
  -0,
  -1,
  0.5,
  2 ** 31,
  2 ** 53,
  1e308,
  -1e-308,
  '',
  ' ',
  '\0',
  'a\0b',
  '\ud800',
  'a\udfff',
  '\u2028',
  '\u202e',
  '\ufeff',
  '💥',
  '💥'.repeat(300),
  'null',
  'true',
  '-1',
  '1e3',
  '0x10',
  'NaN',
  "' or 1=1 --",
  '"; drop table apps; --',
  '../../etc/passwd',
  '<script>alert(1)</script>',
  '{{7*7}}',
  '%00',
  '%ff',
  '\r\nx: y',
  '00000000-0000-0000-0000-000000000000',
  'urn:uuid:00000000-0000-0000-0000-000000000000',
  '{}',
  'infinity',
  '-infinity',
  'epoch',
  '0000-01-01T00:00:00Z',
  '9999-12-31T23:59:59.999999999Z',
  '2099-12-31T23:59:60Z',
  '2026-02-31T00:00:00+23:59',
  'W/"1-00000000"',
  '*',
  '"',
  'x'.repeat(256),
  'x'.repeat(5_000),
  '9'.repeat(400),
  [],
  [[]],
  [null],
  {},
  { length: 1e9 },
  { toString: 1 },
  { constructor: { prototype: {} } },
  JSON.parse('{"__proto__":{"isOperator":true}}')
]

const nasty = fc.constantFrom(...NASTY)
const anything = fc.jsonValue()
/** One for all strings: to make one, fast-check lists all of Unicode. */
const character = fc.string({ unit: 'binary', minLength: 1, maxLength: 1 })
const extraKey = fc.oneof(fc.constantFrom('__proto__', 'constructor', 'id', 'version', 'teamId'), fc.string())

/** Values of a schema and their neighbours: mostly valid ones, sometimes nearly valid or invalid ones. */
function near(schema: JsonSchema): Arbitrary<unknown> {
  return fc.oneof(
    { weight: 20, arbitrary: like(schema) },
    { weight: 1, arbitrary: nasty },
    { weight: 1, arbitrary: anything }
  )
}

function like(schema: JsonSchema): Arbitrary<unknown> {
  if ('const' in schema) return fc.constant(schema.const)
  if (schema.enum !== undefined) return fc.constantFrom(...schema.enum)
  if (schema.anyOf !== undefined) return fc.oneof(...schema.anyOf.map(near))
  if (Array.isArray(schema.type)) return fc.oneof(...schema.type.map(type => like({ ...schema, type })))
  switch (schema.type) {
    case 'null':
      return fc.constant(null)
    case 'boolean':
      return fc.boolean()
    case 'integer':
    case 'number':
      return numberLike(schema)
    case 'array':
      return fc.array(near(schema.items ?? {}), { maxLength: (schema.maxItems ?? 5) + 1 })
    case 'object':
      return objectLike(schema)
    case 'string':
      return stringLike(schema)
    default:
      return anything
  }
}

function numberLike({ minimum = -1000, maximum = 100_000 }: JsonSchema): Arbitrary<unknown> {
  return fc.oneof(
    { weight: 9, arbitrary: fc.integer({ min: minimum, max: maximum }) },
    { weight: 1, arbitrary: fc.constantFrom(minimum - 1, minimum, maximum, maximum + 1) }
  )
}

function objectLike({ properties = {}, required = [] }: JsonSchema): Arbitrary<unknown> {
  const fields = fc.record(Object.fromEntries(Object.entries(properties).map(([key, value]) => [key, near(value)])), {
    requiredKeys: required.filter(key => key in properties)
  })
  const extra = fc.dictionary(extraKey, nasty, { maxKeys: 2 })
  return fc.oneof(
    { weight: 12, arbitrary: fields },
    { weight: 1, arbitrary: fc.tuple(fields, extra).map(([given, more]) => ({ ...given, ...more })) },
    { weight: 1, arbitrary: fc.tuple(fields, fc.nat()).map(([given, n]) => without(given, n)) }
  )
}

function without(given: object, n: number): object {
  const entries = Object.entries(given)
  return Object.fromEntries(entries.filter((_, i) => i !== n % entries.length))
}

const strings = new Map<string, Arbitrary<unknown>>()

/** Each is created once, because fast-check splits all the nasty strings for each, which takes long. */
function stringLike({ pattern, format, examples, minLength, maxLength }: JsonSchema): Arbitrary<unknown> {
  const form = { pattern, format, examples, minLength, maxLength }
  const key = JSON.stringify(form)
  const arbitrary = strings.get(key) ?? newStringLike(form)
  strings.set(key, arbitrary)
  return arbitrary
}

function newStringLike(schema: JsonSchema): Arbitrary<unknown> {
  const { minLength = 0, maxLength = 300 } = schema
  return fc.oneof(
    { weight: 16, arbitrary: fc.oneof(...meant(schema)) },
    { weight: 1, arbitrary: fc.string({ unit: character, minLength, maxLength: Math.min(maxLength, 300) }) },
    { weight: 1, arbitrary: fc.integer({ min: maxLength, max: maxLength + 1 }).map(length => 'a'.repeat(length)) }
  )
}

/** Valid strings, as far as they can be generated from the schema. */
function meant({ pattern, format, examples = [], minLength = 1 }: JsonSchema): Arbitrary<unknown>[] {
  const choices: Arbitrary<unknown>[] = []
  if (examples.length > 0) choices.push(fc.constantFrom(...examples))
  if (format === 'date-time')
    choices.push(fc.date({ min: new Date('2000-01-01'), max: new Date('2100-01-01') }).map(date => date.toJSON()))
  if (pattern !== undefined && !/\(\?[=!]|\\p/.test(pattern)) choices.push(fc.stringMatching(new RegExp(pattern, 'u')))
  return choices.length > 0 ? choices : [fc.string({ unit: 'grapheme', minLength, maxLength: 50 })]
}

export interface DrawnRequest {
  url: string
  headers: Record<string, string>
  payload?: string
}

/**
 * Requests to a route: most are valid, and many are nearly valid.
 *
 * @param things parameter values of existing objects
 */
export function requestTo(route: RouteOptions, things: Record<string, readonly string[]>): Arbitrary<DrawnRequest> {
  const schema = (route.schema ?? {}) as Partial<Record<'params' | 'querystring' | 'headers' | 'body', JsonSchema>>
  const names = [...route.url.matchAll(/:(\w+)/g)].map(([, name]) => name!)
  const params = names.map(name =>
    fc.oneof(
      { weight: 4, arbitrary: fc.constantFrom(...(things[name] ?? ['x'])) },
      { weight: 1, arbitrary: near(schema.params?.properties?.[name] ?? { type: 'string' }) }
    )
  )
  const parts = fc.record({
    params: fc.tuple(...params),
    query: near(schema.querystring ?? { type: 'object' }),
    headers: near(schema.headers ?? { type: 'object' }),
    body: route.method === 'GET' ? fc.constant(undefined) : near(schema.body ?? {})
  })
  return parts.map(({ params, query, headers, body }) => ({
    url: fill(route.url, names, params) + search(query),
    headers: headerFields(headers),
    ...(body !== undefined && { payload: JSON.stringify(body) })
  }))
}

function fill(pattern: string, names: string[], params: unknown[]): string {
  return names.reduce((url, name, i) => url.replace(`:${name}`, encodeURIComponent(textOf(params[i]))), pattern)
}

function search(query: unknown): string {
  const pairs = Object.entries(query ?? {}).map(([key, value]): [string, string] => [key.toWellFormed(), textOf(value)])
  return pairs.length === 0 ? '' : `?${new URLSearchParams(pairs)}`
}

/** Only characters that HTTP allows. */
function headerFields(headers: unknown): Record<string, string> {
  const fields = Object.entries(headers ?? {}).filter(([name]) => /^[a-z]+(-[a-z]+)+$/.test(name))
  return Object.fromEntries(
    fields.map(([name, value]) => [
      name,
      textOf(value)
        .replace(/[^\x20-\x7e\xa0-\xff]/g, '')
        .slice(0, 4_000)
    ])
  )
}

function textOf(value: unknown): string {
  return (typeof value === 'string' ? value : (JSON.stringify(value) ?? '')).toWellFormed()
}
