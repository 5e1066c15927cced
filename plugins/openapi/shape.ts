import { type Html, html } from '../lib/html.ts'
import { type OpenApiDocument, resolve, type Schema } from './document.ts'

/** Maximum depth of nested properties. */
const MAX_DEPTH = 6

/** A table of a schema's properties. */
export function shape(schema: Schema | undefined, document: OpenApiDocument): Html {
  if (schema === undefined) return html``
  const rows = rowsOf(schema, document, '', 0)
  return rows.length > 0 ? table(rows) : html`<p><code>${typeOf(schema)}</code> ${limitsOf(schema)}</p>`
}

/** One row per property, including those of nested objects: `owner.name`, `items[].id`. */
function rowsOf(given: Schema, document: OpenApiDocument, prefix: string, depth: number): Html[] {
  const schema = resolve(given, document)
  if (depth > MAX_DEPTH) return []
  if (schema.items !== undefined) return rowsOf(schema.items, document, `${prefix}[]`, depth + 1)
  return Object.entries(schema.properties ?? {}).flatMap(([key, value]) => {
    const name = prefix === '' ? key : `${prefix}.${key}`
    const property = resolve(value, document)
    const required = schema.required?.includes(key) === true
    return [
      row(name, property, required, undefined, property.description),
      ...rowsOf(property, document, name, depth + 1)
    ]
  })
}

export function table(rows: readonly Html[]): Html {
  return html`<div class="scroll"><table><tbody>${rows}</tbody></table></div>`
}

/** @param place the location of a parameter */
export function row(name: string, schema: Schema, required: boolean, place?: string, description?: string): Html {
  const facts = [place, required ? 'required' : 'optional', limitsOf(schema)].filter(Boolean).join(', ')
  return html`<tr><th scope="row"><code>${name}</code></th><td><code>${typeOf(schema)}</code> <small>${facts}</small>${
    description && html`<br>${prose(description)}`
  }</td></tr>
`
}

function typeOf({ type, format, items, enum: values, const: constant, anyOf, oneOf, $ref }: Schema): string {
  if (constant !== undefined) return JSON.stringify(constant)
  if (values !== undefined) return values.map(value => JSON.stringify(value)).join(' | ')
  const members = anyOf ?? oneOf
  if (members !== undefined) return members.map(typeOf).join(' | ')
  if (items !== undefined) return `${typeOf(items)}[]`
  if ($ref !== undefined) return $ref.split('/').at(-1) as string
  return format ?? [type ?? 'any'].flat().join(' | ')
}

function limitsOf(schema: Schema): string {
  return [
    between(schema.minLength, schema.maxLength, 'characters'),
    between(schema.minItems, schema.maxItems, 'items'),
    between(schema.minimum, schema.maximum, ''),
    schema['x-form'] ?? '',
    schema.default === undefined ? '' : `default ${JSON.stringify(schema.default)}`
  ]
    .filter(Boolean)
    .join(', ')
}

function between(least: number | undefined, most: number | undefined, unit: string): string {
  if (least === undefined && most === undefined) return ''
  if (least === most) return `${least} ${unit}`.trim()
  if (most === undefined) return `at least ${least} ${unit}`.trim()
  if (least === undefined) return `at most ${most} ${unit}`.trim()
  return `${least} to ${most} ${unit}`.trim()
}

/** Renders text in which `backticks` mark code. */
export function prose(text: string): Html {
  return html`${text.split('`').map((part, index) => (index % 2 === 1 ? html`<code>${part}</code>` : part))}`
}
