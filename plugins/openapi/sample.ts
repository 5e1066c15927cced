import { type OpenApiDocument, resolve, type Schema } from './document.ts'

/** Maximum depth of a sample, because schemas may be recursive. */
const MAX_DEPTH = 8

const FORMATS: Readonly<Record<string, string>> = {
  'date-time': '2026-01-31T12:00:00Z',
  date: '2026-01-31',
  uuid: '0197a4b2-5d1c-7c3e-9a51-0c4f6e1b2d3a'
}

/**
 * A value valid for a schema, built from its examples.
 *
 * @param part `required` omits optional properties, unless nothing would be left
 */
export function sampleOf(given: Schema, document: OpenApiDocument, part: 'all' | 'required', depth = 0): unknown {
  const schema = resolve(given, document)
  const { examples, example, const: constant, enum: values, default: fallback, anyOf, oneOf } = schema
  const ready = [example, examples?.[0], constant, values?.[0], fallback].find(value => value !== undefined)
  if (ready !== undefined && ready !== null) return ready
  const member = (anyOf ?? oneOf)?.[0]
  if (member !== undefined) return sampleOf(member, document, part, depth)
  if (depth > MAX_DEPTH) return null

  switch ([schema.type ?? 'object'].flat()[0]) {
    case 'object':
      return objectSample(schema, document, part, depth + 1)
    case 'array':
      return schema.items ? [sampleOf(schema.items, document, part, depth + 1)] : []
    case 'string':
      return FORMATS[schema.format ?? ''] ?? 'text'
    case 'boolean':
      return true
    case 'null':
      return null
    default:
      return schema.minimum ?? 1
  }
}

function objectSample(schema: Schema, document: OpenApiDocument, part: 'all' | 'required', depth: number): object {
  const { properties = {}, required = [] } = schema
  const names = Object.keys(properties)
  const wanted = part === 'all' ? names : names.filter(name => required.includes(name))
  const shown = wanted.length > 0 ? wanted : names.slice(0, 1)
  return Object.fromEntries(shown.map(name => [name, sampleOf(properties[name]!, document, part, depth)]))
}
