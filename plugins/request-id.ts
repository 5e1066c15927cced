import { randomBytes } from 'node:crypto'
import { type Static, Type } from '@sinclair/typebox'
import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { onEntry } from './lib/entry.ts'
import { type PluginInput, parseOptions } from './lib/options.ts'
import { addLines, headerLine } from './lib/response-head.ts'
import { parseTraceparent } from './lib/trace-context.ts'

export const RequestIdOptions = Type.Object(
  {
    header: Type.String({
      default: 'x-request-id',
      pattern: '^[a-z0-9-]+$',
      description: 'The reply header that carries the id, in lower case.'
    }),
    traceHeader: Type.String({
      default: 'x-trace-id',
      pattern: '^[a-z0-9-]+$',
      description: 'The reply header that repeats the trace of a request with a valid traceparent, in lower case.'
    })
  },
  { additionalProperties: false }
)
export type RequestIdOptions = Static<typeof RequestIdOptions>

/** Where the counter wraps; beyond it, V8 no longer stores it as a small integer. */
const MAX_COUNT = 2 ** 31 - 1

/**
 * Gives every request an id, in its reply and thereby in the logs. The id is always ours: a client-chosen id could
 * duplicate another or contain anything. The trace may be the client's, since traces are meant to cross systems.
 */
const requestId: FastifyPluginAsync<PluginInput<typeof RequestIdOptions>> = async (app, input) => {
  const { header, traceHeader } = parseOptions('rhone-request-id', RequestIdOptions, input)

  app.setGenReqId(idGenerator())

  onEntry(app, (request, reply) => {
    if (!addLines(reply, headerLine(header, request.id))) reply.header(header, request.id)
    if (request.headers.traceparent === undefined) return
    const caller = parseTraceparent(request.headers.traceparent)
    if (caller !== undefined) reply.header(traceHeader, caller.traceId)
  })
}

/**
 * Unique across instances and restarts through a random prefix, within an instance through a counter: no entropy per
 * request.
 */
function idGenerator(): () => string {
  let prefix = randomPrefix()
  let count = 0
  return () => {
    if (count === MAX_COUNT) {
      prefix = randomPrefix()
      count = 0
    }
    return prefix + (++count).toString(36)
  }
}

function randomPrefix(): string {
  return `${randomBytes(8).readBigUInt64BE().toString(36).padStart(13, '0')}-`
}

export default fp(requestId, { name: 'rhone-request-id', fastify: '5.x' })
