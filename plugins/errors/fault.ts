import type { IncomingMessage } from 'node:http'
import type { FastifyRequest } from 'fastify'
import { AppError, type ErrorCode, errors } from '../lib/errors.ts'
import { sqlState } from '../lib/postgres.ts'
import { RemoteError } from '../lib/remote/error.ts'
import { invalid } from '../lib/violations.ts'

/** Fastify errors whose status alone says too little. */
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

/**
 * PostgreSQL's codes for text that it cannot store or read as the column's type: bad UTF-8, a malformed value, a NUL.
 */
const UNREADABLE_TEXT: ReadonlySet<unknown> = new Set(['22021', '22P02', '22P05'])

interface Thrown {
  code?: unknown
  statusCode?: unknown
}

/**
 * Maps any thrown value to the error that the client may see. Only our own errors and Fastify's keep their status: an
 * error from another library may carry a `statusCode`, but from some other server.
 */
export function toAppError(thrown: unknown, request: FastifyRequest): AppError {
  if (thrown instanceof AppError) return thrown
  if (!(thrown instanceof Error)) return errors.internal(thrown)
  if ('validation' in thrown) return hasEmptyParam(request) ? errors.notFound('Route') : invalid(thrown)
  if (wasAborted(request.raw)) return errors.badRequest('The request was aborted', thrown)
  return ofFastify(thrown, request) ?? ofPostgres(thrown) ?? ofRemote(thrown) ?? errors.internal(thrown)
}

/** A stream that has ended was not aborted: Node may destroy an empty body before the request is complete. */
function wasAborted({ destroyed, complete, readableEnded }: IncomingMessage): boolean {
  return destroyed && !complete && !readableEnded
}

/** `/apps/` is not an app with an empty name: the router matches the empty segment after the slash as a parameter. */
function hasEmptyParam({ params }: FastifyRequest): boolean {
  return Object.values(params ?? {}).includes('')
}

function ofFastify(error: Error & Thrown, request: FastifyRequest): AppError | undefined {
  const { code, statusCode } = error
  if (code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE') return unreadableType(request)
  if (typeof code !== 'string' || !code.startsWith('FST_') || typeof statusCode !== 'number') return undefined
  if (FASTIFY_FAULTS[code] !== undefined) return FASTIFY_FAULTS[code]()
  if (statusCode === 503) return new AppError('SERVICE_UNAVAILABLE', { cause: error, headers: { 'retry-after': '10' } })
  if (statusCode < 400 || statusCode >= 500) return undefined
  return new AppError(CODE_OF_STATUS[statusCode] ?? 'BAD_REQUEST', { statusCode, cause: error })
}

/** Most of these come from clients that send a default content type: curl sends forms. */
function unreadableType({ headers: { 'content-type': type } }: FastifyRequest): AppError {
  const found = type === undefined ? 'The request body has no Content-Type' : 'This Content-Type is not supported'
  return new AppError('UNSUPPORTED_MEDIA_TYPE', { detail: `${found}; send Content-Type: application/json` })
}

function ofPostgres(error: Error): AppError | undefined {
  if (!UNREADABLE_TEXT.has(sqlState(error))) return undefined
  return errors.badRequest('The request contains text that cannot be stored', error)
}

/** Retry-After in seconds when a required service does not answer. */
const PAUSE = 10

/** Another service is down or is throttling us; any other complaint from it is our mistake. */
function ofRemote(error: Error): AppError | undefined {
  if (!(error instanceof RemoteError)) return undefined
  const { service, retryAfter, isOutage, kind, status } = error
  if (!isOutage && kind !== 'refused' && status !== 429 && retryAfter === undefined) return undefined
  return errors.unavailable(retryAfter ?? PAUSE, `${service} does not answer at the moment`, error)
}
