import { Ajv, type Options, type ValidateFunction } from 'ajv'
import formats from 'ajv-formats'
import type { FastifySchemaCompiler } from 'fastify'

/**
 * JSON bodies are taken as they are: a string is not a number, and an unknown key is an error. Params, querystring and
 * headers arrive as text, so numbers and booleans are read out of them.
 */
export function validatorCompiler(): FastifySchemaCompiler<object> {
  const body = validators({ coerceTypes: false })
  const text = validators({ coerceTypes: true })
  return ({ schema, httpPart }) => validator(schema, httpPart === 'body' ? body : text)
}

/** One that stops at the first fault, and one that explains all of them. */
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

/** `x-form` says a pattern in words. */
function prepared(ajv: Ajv): Ajv {
  return formats.default(ajv.addVocabulary(['x-form']))
}

/** The longest text that any schema allows. */
const MAX_TEXT = 65_536

/** With all faults reported, patterns also meet text that is too long, which is its fault already and may be hostile. */
function boundedRegExp(pattern: string, flags: string) {
  const expression = new RegExp(pattern, flags)
  return { test: (text: string) => text.length > MAX_TEXT || expression.test(text) }
}
boundedRegExp.code = 'new RegExp'

/**
 * Compiling takes a few milliseconds per schema, and a start would wait for those of all routes, so each is compiled when
 * it is first needed. What is valid, as most is, never meets the slower validator. A test compiles every schema.
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
  /** By this Fastify knows a validator of Ajv, and says where the data stands, so that it can be replaced as a whole. */
  schemaEnv?: true
}
