import type { OpenApiDocument, Schema } from './document.ts'

/** Titles that are valid type names; other titles are only for display. */
const NAME = /^[A-Z][A-Za-z0-9]*$/

/**
 * Moves each titled schema to a shared model of that name, so that generated clients have one `App` instead of forty
 * copies. If two schemas with the same title differ, the second stays inline.
 */
export function nameModels(document: OpenApiDocument): void {
  document.components.schemas ??= {}
  const models = document.components.schemas

  function named(schema: Schema): Schema {
    const { title } = schema
    if (title === undefined || !NAME.test(title)) return schema
    const { description, ...model } = schema
    models[title] ??= schema
    const { description: _, ...known } = models[title]
    if (JSON.stringify(known) !== JSON.stringify(model)) return schema
    return { $ref: `#/components/schemas/${title}`, ...(description !== undefined && { description }) }
  }

  /** Works from the inside out, so that models reference each other. */
  function walk(schema: Schema): Schema {
    const inner: Record<string, unknown> = { ...schema }
    if (schema.properties) inner.properties = mapped(schema.properties, walk)
    if (schema.items) inner.items = walk(schema.items)
    if (typeof schema.additionalProperties === 'object') inner.additionalProperties = walk(schema.additionalProperties)
    for (const union of ['anyOf', 'oneOf'] as const) if (schema[union]) inner[union] = schema[union].map(walk)
    return named(inner)
  }

  for (const operation of Object.values(document.paths).flatMap(path => Object.values(path))) {
    const replies = Object.values(operation.responses).map(reply => ('content' in reply ? reply.content : undefined))
    for (const content of [operation.requestBody?.content, ...replies])
      for (const media of Object.values(content ?? {})) if (media.schema) media.schema = walk(media.schema)
  }
}

function mapped<Value>(values: Readonly<Record<string, Value>>, map: (value: Value) => Value): Record<string, Value> {
  return Object.fromEntries(Object.entries(values).map(([key, value]) => [key, map(value)]))
}
