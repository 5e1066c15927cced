import { AppError, type Violation } from './errors.ts'
import { nearest } from './nearest.ts'

/** Fastify's validation error, from any validator. */
interface ValidationFault extends Error {
  validation?: readonly Failure[]
  validationContext?: string
}

/** What a JSON Schema validator reports. Ajv adds the last two when it is `verbose`; they improve the messages. */
interface Failure {
  keyword?: string
  instancePath?: string
  schemaPath?: string
  message?: string
  params?: Readonly<Record<string, unknown>>
  parentSchema?: FailedSchema
}

interface FailedSchema {
  type?: string | readonly string[]
  /** The pattern in words, after "must be". */
  'x-form'?: string
  examples?: readonly unknown[]
  format?: string
  properties?: Readonly<Record<string, unknown>>
  minimum?: number
  maximum?: number
  minLength?: number
  maxLength?: number
  minItems?: number
  maxItems?: number
}

/** Maximum faults named in one reply; the rest are counted. */
const MAX_NAMED = 10
/** Maximum names listed in answer to an unknown one. */
const MAX_LISTED = 12

/** Describes every fault in a request without requiring knowledge of JSON Schema. */
export function invalid(fault: Error): AppError {
  const { validation = [], validationContext: part = 'request' }: ValidationFault = fault
  const failures = mostTelling(validation)
  const violations = failures.slice(0, MAX_NAMED).map(failure => violation(part, failure))
  const sentences = violations.map(({ pointer, detail }) => `${fieldName(pointer) || part}: ${detail}`)
  if (failures.length > MAX_NAMED) sentences.push(`and ${failures.length - MAX_NAMED} more`)
  return new AppError('VALIDATION_ERROR', { detail: sentences.join('; ') || undefined, violations })
}

/**
 * For a union, validators report faults against each member, then against the union. One description suffices: the
 * choices in a union of constants, the complaint of the member that the value was meant to be, or the types.
 */
function mostTelling(failures: readonly Failure[]): readonly Failure[] {
  let telling = failures
  for (const union of failures) {
    if (union.keyword !== 'anyOf' && union.keyword !== 'oneOf') continue
    const members = telling.filter(failure => isMember(failure, union))
    telling = telling.filter(failure => !members.includes(failure))
    telling = telling.map(failure => (failure === union ? summaryOf(union, members) : failure))
  }
  return telling
}

/** A member's value may be nested below the union's. */
function isMember({ schemaPath = '', instancePath = '' }: Failure, union: Failure): boolean {
  return schemaPath.startsWith(`${union.schemaPath}/`) && instancePath.startsWith(union.instancePath ?? '')
}

function summaryOf(union: Failure, members: readonly Failure[]): Failure {
  const constants = members.filter(({ keyword }) => keyword === 'const').map(({ params }) => params?.allowedValue)
  if (constants.length > 0) return { ...union, keyword: 'enum', params: { allowedValues: constants } }
  const meant = members.find(({ keyword }) => keyword !== 'type')
  return meant ?? { ...union, keyword: 'type', params: { type: members.map(({ params }) => params?.type) } }
}

function violation(part: string, failure: Failure): Violation {
  const { keyword, instancePath = '', params = {} } = failure
  const at = (key = ''): string =>
    `#${instancePath}${key && `/${shortened(key).replaceAll('~', '~0').replaceAll('/', '~1')}`}`
  if (keyword === 'required') return { in: part, pointer: at(String(params.missingProperty)), detail: 'is required' }
  if (keyword === 'additionalProperties') {
    const name = String(params.additionalProperty)
    return { in: part, pointer: at(name), detail: unknownName(name, failure.parentSchema) }
  }
  return { in: part, pointer: at(), detail: faultOf(failure) }
}

function unknownName(name: string, { properties = {} }: FailedSchema = {}): string {
  const known = Object.keys(properties)
  const meant = nearest(name, known)
  if (meant !== undefined) return `is unknown; did you mean "${meant}"?`
  return known.length > 0 ? `is unknown; known are ${listed(known)}` : 'is unknown'
}

/** What is wrong with one value, to follow its name. */
function faultOf({ keyword, params = {}, parentSchema: schema = {}, message }: Failure): string {
  switch (keyword) {
    case 'enum':
      return `must be one of ${(params.allowedValues as unknown[]).join(', ')}`
    case 'const':
      return `must be ${JSON.stringify(params.allowedValue)}`
    case 'type':
      return `must be ${typeNames(params.type, schema)}${suchAs(schema)}`
    case 'minimum':
    case 'maximum':
    case 'exclusiveMinimum':
    case 'exclusiveMaximum':
      return `must be ${schema.type === undefined ? `${params.comparison} ${params.limit}` : typeNames(schema.type, schema)}`
    case 'minLength':
      return params.limit === 1 ? 'must not be empty' : `must have ${amount(schema, params.limit, 'least')} characters`
    case 'maxLength':
      return `must have ${amount(schema, params.limit, 'most')} characters`
    case 'minItems':
      return params.limit === 1 ? 'must not be empty' : `must have ${amount(schema, params.limit, 'least')} items`
    case 'maxItems':
      return `must have ${amount(schema, params.limit, 'most')} items`
    case 'minProperties':
      return `must have at least ${params.limit} of ${listed(Object.keys(schema.properties ?? {})) || 'its properties'}`
    case 'uniqueItems':
      return 'must not contain an item twice'
    case 'pattern':
      return (schema['x-form'] ? `must be ${schema['x-form']}` : 'has the wrong format') + suchAs(schema)
    case 'format':
      return FORMATS[String(params.format)] ?? `must be a ${String(params.format)}${suchAs(schema)}`
    default:
      return message ?? 'is invalid'
  }
}

const FORMATS: Readonly<Record<string, string>> = {
  'date-time': 'must be a date and time with an offset, such as 2026-01-31T12:00:00Z',
  date: 'must be a date, such as 2026-01-31',
  uuid: 'must be a UUID, such as 0197a4b2-5d1c-7c3e-9a51-0c4f6e1b2d3a'
}

const TYPES: Readonly<Record<string, string>> = {
  string: 'a string',
  boolean: 'true or false',
  array: 'a list',
  object: 'an object',
  null: 'null'
}

function typeNames(types: unknown, schema: FailedSchema): string {
  return [types]
    .flat()
    .map(type => TYPES[String(type)] ?? (type === 'integer' ? 'a whole number' : 'a number') + range(schema))
    .join(' or ')
}

function range({ minimum, maximum }: FailedSchema): string {
  if (minimum === undefined) return maximum === undefined ? '' : ` of at most ${maximum}`
  return maximum === undefined ? ` of at least ${minimum}` : ` from ${minimum} to ${maximum}`
}

function amount({ minLength, maxLength, minItems, maxItems }: FailedSchema, limit: unknown, bound: string): string {
  const [least, most] = [minLength ?? minItems, maxLength ?? maxItems]
  return least === undefined || most === undefined ? `at ${bound} ${limit}` : `${least} to ${most}`
}

function suchAs({ examples: [example] = [] }: FailedSchema): string {
  return example === undefined ? '' : `, such as ${typeof example === 'string' ? example : JSON.stringify(example)}`
}

function listed(names: readonly string[]): string {
  return names.length > MAX_LISTED ? `${names.slice(0, MAX_LISTED).join(', ')} and others` : names.join(', ')
}

/** Shows `#/regions/0` as `regions.0`. */
function fieldName(pointer: string): string {
  return pointer.slice(2).replaceAll('/', '.').replaceAll('~1', '/').replaceAll('~0', '~')
}

/** Clients choose the names of unknown properties, so they are not echoed at length. */
function shortened(text: string): string {
  return text.length > 100 ? `${text.slice(0, 100)}…` : text
}
