import type { FastifyReply, FastifyRequest } from 'fastify'
import type { AppError } from '../lib/errors.ts'
import { validateHeaderValue } from '../lib/http.ts'
import { quotedJson } from '../lib/quoted-json.ts'
import { addLines, hasBlock, headerLine } from '../lib/response-head.ts'
import { asJson } from './reply.ts'

/** The text of a refusal, except for the request id. */
interface Prepared {
  readonly lines: string
  readonly beforeId: string
  readonly afterId: string
}

const kPrepared = Symbol('rhone.prepared-reply')

type FloodError = AppError & { [kPrepared]?: Prepared }

/** Refusals that come in floods: the client is over a limit, or the server is overloaded. */
const FLOODS: ReadonlySet<string> = new Set(['RATE_LIMIT', 'SERVICE_UNAVAILABLE'])

const NO_STORE = headerLine('cache-control', 'no-store')

/**
 * Answers a refusal for less than the cost of a served request, if the reply would be the same as on the normal path:
 * JSON, with no headers set for this request alone. Such a reply skips `onSend` hooks.
 *
 * @returns whether it has replied
 */
export function answerFlood(error: FloodError, request: FastifyRequest, reply: FastifyReply): boolean {
  if (!FLOODS.has(error.code) || error.isFailure || !takesJson(request) || hasHeaders(reply)) return false
  error[kPrepared] ??= prepare(error)
  const { lines, beforeId, afterId } = error[kPrepared]
  if (!addLines(reply, hasBlock(reply) ? lines : lines + NO_STORE)) return false

  reply.hijack()
  reply.raw.statusCode = error.statusCode
  reply.raw.end(beforeId + quotedJson(request.id) + afterId)
  return true
}

function takesJson({ method, headers: { accept } }: FastifyRequest): boolean {
  return method !== 'HEAD' && (accept === undefined || accept === '*/*' || accept === 'application/json')
}

function hasHeaders(reply: FastifyReply): boolean {
  for (const _name in reply.getHeaders()) return true
  return false
}

function prepare(error: AppError): Prepared {
  const headers = { ...error.headers, 'content-type': 'application/json; charset=utf-8' }
  for (const [name, value] of Object.entries(headers)) validateHeaderValue(name, value)
  const lines = Object.entries(headers).map(([name, value]) => headerLine(name, value))
  const text = asJson(error, '')
  const id = text.lastIndexOf('""') // it comes last, whatever the message and the detail contain
  return { lines: lines.join(''), beforeId: text.slice(0, id), afterId: text.slice(id + 2) }
}
