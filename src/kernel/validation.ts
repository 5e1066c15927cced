import { Ajv, type ValidateFunction } from 'ajv'
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
  return ({ schema, httpPart }) => whenNeeded(() => (httpPart === 'body' ? body : text).compile(schema))
}

/**
 * Compiling takes a few milliseconds per schema, and a start would wait for those of all routes. A test sees to it that
 * each can be compiled.
 */
function whenNeeded(compile: () => ValidateFunction): Validate {
  let compiled: ValidateFunction | undefined
  const validate: Validate = (data, place) => {
    compiled ??= compile()
    const isValid = compiled(data, place)
    validate.errors = compiled.errors
    return isValid
  }
  validate.schemaEnv = true
  return validate
}

interface Validate {
  (data: unknown, place?: Parameters<ValidateFunction>[1]): boolean
  errors?: ValidateFunction['errors']
  /** By this Fastify knows a validator of Ajv, and says where the data stands, so that it can be replaced as a whole. */
  schemaEnv?: true
}
