import { Ajv, type Options, type ValidateFunction } from 'ajv'
import formats from 'ajv-formats'
import type { FastifySchemaCompiler } from 'fastify'

/**
 * JSON bodies are not coerced: a string is not a number, and an unknown key is an error. Params, querystring and
 * headers arrive as text, so numbers and booleans are parsed from them.
 */
export function validatorCompiler(): FastifySchemaCompiler<object> {
  const body = validators({ coerceTypes: false })
  const text = validators({ coerceTypes: true })
  return ({ schema, httpPart }) => validator(schema, httpPart === 'body' ? body : text)
}

/** One validator stops at the first fault; the other explains all faults. */
interface Validators {
  readonly quick: Ajv
  readonly thorough: Ajv
}

function validators(options: Options): Validators {
  const common: Options = { ...options, useDefaults: true, removeAdditional: false }
  return {
    quick: prepared(new Ajv({ ...common, allErrors: false })),
    thorough: prepared(new Ajv({ ...common, allErrors: true, verbose: true, code: { regExp: boundedRegExp } }))
  }
}

/** `x-form` describes a pattern in words. */
function prepared(ajv: Ajv): Ajv {
  return formats.default(ajv.addVocabulary(['x-form']))
}

/** The maximum text length that any schema allows. */
const MAX_TEXT = 65_536

/** When all faults are reported, patterns also run on overlong text, which is already invalid and may be hostile. */
function boundedRegExp(pattern: string, flags: string) {
  const expression = new RegExp(pattern, flags)
  return {
    test: (text: string) => text.length > MAX_TEXT || expression.test(text),
    // Ajv distinguishes the expressions of a schema by their text.
    toString: () => String(expression)
  }
}
boundedRegExp.code = 'new RegExp'

/**
 * Each schema is compiled on first use: compiling takes a few milliseconds, and doing it for all routes would delay the
 * start. Valid input, the common case, never reaches the slower validator. A test compiles every schema.
 */
function validator(schema: object, { quick, thorough }: Validators): Validate {
  let check: ValidateFunction | undefined
  let explain: ValidateFunction | undefined
  const validate: Validate = (data, place) => {
    check ??= quick.compile(schema)
    if (check(data, place)) return true
    explain ??= thorough.compile(schema)
    explain(data, place)
    validate.errors = explain.errors ?? check.errors
    return false
  }
  validate.schemaEnv = true
  return validate
}

interface Validate {
  (data: unknown, place?: Parameters<ValidateFunction>[1]): boolean
  errors?: ValidateFunction['errors']
  /**
   * Fastify recognises an Ajv validator by this and then passes the data's location, so that the data can be replaced
   * whole.
   */
  schemaEnv?: true
}
