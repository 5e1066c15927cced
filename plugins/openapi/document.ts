/** The parts of an OpenAPI 3.1 document that the documentation reads and writes. */
export interface OpenApiDocument {
  info: { title: string; version: string; description?: string }
  servers?: readonly { url: string }[]
  paths: Record<string, Record<string, Operation>>
  components: {
    schemas?: Record<string, Schema>
    responses?: Record<string, Response>
  }
}

export interface Operation {
  operationId: string
  summary?: string
  description?: string
  tags?: readonly string[]
  parameters?: readonly Parameter[]
  requestBody?: { required?: boolean; content: Content }
  responses: Record<string, Response | Reference>
  security?: readonly Readonly<Record<string, unknown>>[]
  deprecated?: boolean
  'x-failures'?: readonly number[]
}

export interface Parameter {
  name: string
  in: string
  required?: boolean
  description?: string
  example?: unknown
  schema: Schema
}

export interface Response {
  description: string
  headers?: Record<string, { description: string; schema: Schema }>
  content?: Content
}

export interface Reference {
  $ref: string
}

export type Content = Record<string, { schema?: Schema; example?: unknown }>

export interface Schema {
  $ref?: string
  type?: string | readonly string[] | undefined
  title?: string
  description?: string
  properties?: Record<string, Schema>
  required?: readonly string[]
  items?: Schema
  anyOf?: readonly Schema[]
  oneOf?: readonly Schema[]
  enum?: readonly unknown[]
  const?: unknown
  format?: string
  default?: unknown
  example?: unknown
  examples?: readonly unknown[]
  minimum?: number
  maximum?: number
  minLength?: number
  maxLength?: number
  minItems?: number
  maxItems?: number
  additionalProperties?: boolean | Schema
  'x-form'?: string
}

/** Resolves a schema's `$ref`, if it has one; keys next to the reference take precedence. */
export function resolve(schema: Schema, { components }: OpenApiDocument): Schema {
  const { $ref, ...beside } = schema
  const name = $ref?.split('/').at(-1)
  const model = name === undefined ? undefined : components.schemas?.[name]
  return model === undefined ? schema : { ...model, ...beside }
}
