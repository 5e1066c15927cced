import { Ajv } from 'ajv'
import formats from 'ajv-formats'
import type { FastifySchemaCompiler } from 'fastify'

/**
 * JSON bodies are taken as they are: a string is not a number, and an unknown key is an error. Params, querystring and
 * headers arrive as text, so numbers and booleans are read out of them.
 */
export function validatorCompiler(): FastifySchemaCompiler<object> {
  const options = { useDefaults: true, removeAdditional: false, allErrors: false } as const
  const body = formats.default(new Ajv({ ...options, coerceTypes: false }))
  const text = formats.default(new Ajv({ ...options, coerceTypes: true }))
  return ({ schema, httpPart }) => (httpPart === 'body' ? body : text).compile(schema)
}
