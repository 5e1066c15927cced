import type { FastifyRequest } from 'fastify'
import { AppError, type ErrorCode, errors, type Violation } from '../lib/errors.ts'
import { sqlState } from '../lib/postgres.ts'
import { RemoteError } from '../lib/remote/error.ts'

/** Faults of Fastify whose status alone says too little. */
const FASTIFY_FAULTS: Readonly<Record<string, () => AppError>> = {
  FST_ERR_CTP_EMPTY_JSON_BODY: () => errors.badRequest('The request body is empty'),
  FST_ERR_CTP_INVALID_JSON_BODY: () => errors.badRequest('The request body is not valid JSON'),
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: () => errors.badRequest('The request body does not match its Content-Length'),
  FST_ERR_ROUTE_MISSING_CONTENT_TYPE: () => errors.badRequest('The request has no Content-Type'),
  FST_ERR_BAD_URL: () => errors.badRequest('The request URL is malformed'),
  FST_ERR_NOT_FOUND: () => errors.notFound('Route')
}

const CODE_OF_STATUS: Readonly<Record<number, ErrorCode>> = {
  401: 'UNAUTHORIZED',
  403: 'FORBIDDEN',
  404: 'NOT_FOUND',
  405: 'METHOD_NOT_ALLOWED',
  409: 'CONFLICT',
  412: 'PRECONDITION_FAILED',
  413: 'PAYLOAD_TOO_LARGE',
  414: 'URI_TOO_LONG',
  415: 'UNSUPPORTED_MEDIA_TYPE',
  429: 'RATE_LIMIT',
  503: 'SERVICE_UNAVAILABLE'
}

/** What PostgreSQL calls text it cannot store or read as the column's type: bad UTF-8, a malformed value, a NUL. */
const UNREADABLE_TEXT: ReadonlySet<unknown> = new Set(['22021', '22P02', '22P05'])

interface Thrown {
  code?: unknown
  statusCode?: unknown
}

/**
 * The error that a client may see for whatever was thrown. Only errors of ours and of Fastify keep their status: an error
 * of another library may well carry a `statusCode`, but it is some other server's.
 */
export function toAppError(thrown: unknown, request: FastifyRequest): AppError {
  if (thrown instanceof AppError) return thrown
  if (!(thrown instanceof Error)) return errors.internal(thrown)
  if ('validation' in thrown) return invalid(thrown as ValidationFault)
  if (request.raw.destroyed && !request.raw.complete) return errors.badRequest('The request was aborted', thrown)
  return ofFastify(thrown) ?? ofPostgres(thrown) ?? ofRemote(thrown) ?? errors.internal(thrown)
}

function ofFastify(error: Error & Thrown): AppError | undefined {
  const { code, statusCode } = error
  if (typeof code !== 'string' || !code.startsWith('FST_') || typeof statusCode !== 'number') return undefined
  if (FASTIFY_FAULTS[code] !== undefined) return FASTIFY_FAULTS[code]()
  if (statusCode === 503) return new AppError('SERVICE_UNAVAILABLE', { cause: error, headers: { 'retry-after': '10' } })
  if (statusCode < 400 || statusCode >= 500) return undefined
  return new AppError(CODE_OF_STATUS[statusCode] ?? 'BAD_REQUEST', { statusCode, cause: error })
}

function ofPostgres(error: Error): AppError | undefined {
  if (!UNREADABLE_TEXT.has(sqlState(error))) return undefined
  return errors.badRequest('The request contains text that cannot be stored', error)
}

/** Seconds after which to ask again for what needs another service that does not answer. */
const PAUSE = 10

/** Another service is down or has enough of us; whatever else it has against us is a mistake of ours. */
function ofRemote(error: Error): AppError | undefined {
  if (!(error instanceof RemoteError)) return undefined
  const { service, retryAfter, isOutage, kind, status } = error
  if (!isOutage && kind !== 'refused' && status !== 429 && retryAfter === undefined) return undefined
  return errors.unavailable(retryAfter ?? PAUSE, `${service} does not answer at the moment`, error)
}

/** Fastify's validation error, of whichever validator. */
interface ValidationFault extends Error {
  validation?: readonly Failure[]
  validationContext?: string
}

interface Failure {
  keyword?: string
  instancePath?: string
  message?: string
  params?: Readonly<Record<string, unknown>>
}

function invalid(fault: ValidationFault): AppError {
  const part = fault.validationContext ?? 'request'
  const violations = mostTelling(fault.validation ?? []).map(failure => violation(part, failure))
  return new AppError('VALIDATION_ERROR', {
    detail: violations.map(({ pointer, detail }) => `${fieldName(pointer) || part}: ${detail}`).join('; ') || undefined,
    violations
  })
}

/**
 * Of a union, validators report what is wrong with it as each of its members, and then the union. One of these says it
 * all: the choices of a union of constants, the complaint of the member that the value was meant to be, or the types.
 */
function mostTelling(failures: readonly Failure[]): readonly Failure[] {
  const union = failures.findLast(({ keyword }) => keyword === 'anyOf' || keyword === 'oneOf')
  if (union === undefined) return failures
  const members = failures.filter(failure => failure !== union)

  const constants = members.filter(({ keyword }) => keyword === 'const').map(({ params }) => params?.allowedValue)
  if (constants.length > 0) return [{ ...union, keyword: 'enum', params: { allowedValues: constants } }]
  const meant = members.find(({ keyword }) => keyword !== 'type')
  if (meant !== undefined) return [meant]
  return [{ ...union, message: `must be ${members.map(({ params }) => params?.type).join(' or ')}` }]
}

function violation(part: string, { keyword, instancePath = '', message, params = {} }: Failure): Violation {
  const at = (key = ''): string =>
    `#${instancePath}${key && `/${shortened(key).replaceAll('~', '~0').replaceAll('/', '~1')}`}`
  switch (keyword) {
    case 'required':
      return { in: part, pointer: at(String(params.missingProperty)), detail: 'is required' }
    case 'additionalProperties':
      return { in: part, pointer: at(String(params.additionalProperty)), detail: 'is not a known property' }
    case 'enum':
      return { in: part, pointer: at(), detail: `must be one of ${(params.allowedValues as unknown[]).join(', ')}` }
    default:
      return { in: part, pointer: at(), detail: message ?? 'is invalid' }
  }
}

/** `#/regions/0` is `regions.0` to people. */
function fieldName(pointer: string): string {
  return pointer.slice(2).replaceAll('/', '.').replaceAll('~1', '/').replaceAll('~0', '~')
}

/** A client chooses the names of its unknown properties, so they are not echoed at any length. */
function shortened(text: string): string {
  return text.length > 100 ? `${text.slice(0, 100)}…` : text
}
