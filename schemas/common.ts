import { type SchemaOptions, type Static, type TProperties, type TSchema, Type } from '@sinclair/typebox'

interface ObjectNames {
  /** The model's name in the OpenAPI description and in generated clients. */
  title?: string
  description?: string
}

/** An object that rejects unknown keys; used for everything that clients send. */
export function Strict<Properties extends TProperties>(
  properties: Properties,
  options: ObjectNames & { minProperties?: number } = {}
) {
  return Type.Object(properties, { additionalProperties: false, ...options })
}

/** An object that Rhone sends. Unlisted keys are never serialized. */
export function Sent<Properties extends TProperties>(properties: Properties, options: ObjectNames = {}) {
  return Type.Object(properties, options)
}

/** One of several strings. An `enum` serializes several times faster than the `anyOf` of a union of literals. */
export function OneOf<const Values extends readonly string[]>(values: Values, options: { description?: string } = {}) {
  return Type.Unsafe<Values[number]>({ type: 'string', enum: [...values], ...options })
}

/** The schema's type or null, also without an `anyOf`. For strings, numbers and booleans. */
export function Nullable<Schema extends TSchema>(schema: Schema) {
  return Type.Unsafe<Static<Schema> | null>({ ...schema, type: [schema.type, 'null'] })
}

/** A copy of a schema with another default or description. The type of a spread could not be named in other files. */
export function adapted<Schema extends TSchema>(schema: Schema, options: SchemaOptions): Schema {
  return { ...schema, ...options }
}

/** Not `format: 'uuid'`: that format accepts `urn:uuid:`, which PostgreSQL rejects. */
export const Uuid = Type.String({
  pattern: '^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$',
  'x-form': 'a UUID',
  description: 'Its id.',
  examples: ['0197a4b2-5d1c-7c3e-9a51-0c4f6e1b2d3a']
})

/** A UUID or a slug. Text that can be neither is not a validation error but an object that does not exist: 404. */
export const IdOrSlug = Type.String({
  minLength: 1,
  maxLength: 255,
  description: 'Its UUID or its slug.',
  examples: ['hello']
})

/** Sent as ISO 8601 in UTC. Handlers may return a Date; a replayed reply contains the text. */
export const Timestamp = Type.Unsafe<Date | string>(Type.String({ format: 'date-time' }))

export const CreatedAt = adapted(Timestamp, { description: 'When it was created.' })
export const UpdatedAt = adapted(Timestamp, { description: 'When it was last updated.' })

/** Text that Rhone sends, with an example. */
export function Text(description: string, example: string) {
  return Type.String({ description, examples: [example] })
}

/**
 * Control characters, lone surrogates, line separators and bidirectional marks, which would reorder the text around a
 * name. None belongs in a name, and PostgreSQL rejects some of them.
 */
const NOT_IN_NAMES = '\\p{Cc}\\p{Cs}\\p{Zl}\\p{Zp}\\p{Bidi_Control}'

/** One line of display text with at least one visible character. */
export const Name = Type.String({
  minLength: 1,
  maxLength: 255,
  pattern: `^(?=[\\s\\p{Cf}]*[^\\s\\p{Cf}])[^${NOT_IN_NAMES}]*$`,
  'x-form': 'one line of text that is not blank',
  description: 'The display name.',
  examples: ['hello']
})

export const Limit = Type.Integer({ minimum: 1, maximum: 200, default: 50, description: 'Maximum number of items.' })
export const Cursor = Type.String({
  minLength: 1,
  maxLength: 512,
  pattern: '^[A-Za-z0-9_-]+$',
  'x-form': 'the nextCursor of the page before',
  description: 'The `nextCursor` of the page before.',
  examples: ['MTcxNTk0MjQwMDAwMC4wMTk3YTRiMg']
})

export const PageQuery = { limit: Type.Optional(Limit), cursor: Type.Optional(Cursor) }

/** The reply of every list. */
export function Page<Item extends TSchema>(item: Item) {
  return Sent(
    {
      items: Type.Array(item, { description: 'The items of this page.' }),
      nextCursor: Nullable(
        Type.String({
          description: 'The cursor of the next page; null on the last one.',
          examples: ['MTcxNTk0MjQwMDAwMC4wMTk3YTRiMg']
        })
      )
    },
    item.title === undefined ? {} : { title: `${item.title}Page` }
  )
}

export const NoQuery = Strict({})

/** Requests whose URL says everything: no body, or an empty object. */
export const NoBody = Type.Unsafe<object | null>({
  type: ['object', 'null'],
  properties: {},
  additionalProperties: false
})

/** A body that may be omitted. */
export function OptionalBody<Schema extends TSchema>(schema: Schema) {
  return Type.Unsafe<Static<Schema> | null>({ ...schema, type: ['object', 'null'] })
}

/** Replies without a body. */
export const NoContent = Type.Unsafe<undefined>(Type.Null({ description: 'Done; no content.' }))
export const NotModified = Type.Unsafe<undefined>(
  Type.Null({ description: 'Unchanged since the version in If-None-Match.' })
)

const ENTITY_TAG = '(?:W/)?"[\\x21\\x23-\\x7E\\x80-\\xFF]*"'
const EntityTags = Type.String({
  maxLength: 2048,
  pattern: `^\\s*(?:\\*|${ENTITY_TAG}(?:\\s*,\\s*${ENTITY_TAG})*)\\s*$`,
  'x-form': '*, or entity tags in double quotes, as in the ETag header',
  description: '`*`, or entity tags from ETag headers.',
  examples: ['"1"']
})

/** The request headers that a route reads. Requests always have others too, so these objects stay open. */
export const Headers = Type.Object
export const IdempotencyKey = Type.Optional(
  Type.String({
    minLength: 1,
    maxLength: 255,
    pattern: '^[\\x21-\\x7E]+$',
    'x-form': 'printable ASCII without blanks',
    description: 'A repeated request with the same key gets the same reply, and changes nothing again.',
    examples: ['9f1c2a7e-6f0e-4b57-8f53-2f9a5a1d1c11']
  })
)
export const IfMatch = Type.Optional(EntityTags)
export const IfNoneMatch = Type.Optional(EntityTags)

/** For URLs that also answer with a page. */
export const Done = Type.Optional(
  Type.String({ maxLength: 40, description: 'The completed action, for a notice on the page.', examples: ['created'] })
)
