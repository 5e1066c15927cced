import type { OutgoingHttpHeaders } from 'node:http'
import type { FastifyReply } from 'fastify'
import { errors } from '../lib/errors.ts'
import { validateHeaderName, validateHeaderValue } from '../lib/http.ts'
import { asJson } from './reply.ts'

/**
 * Sends the reply to an error. If that fails too, because a hook throws, Fastify's fallback would quote the failure to
 * the client. This sends our own reply instead and calls `onFailure`.
 */
export function sendGuarded(reply: FastifyReply, body: string, onFailure: (thrown: Error) => void): void {
  const { send } = reply
  reply.send = payload => {
    if (!(payload instanceof Error) || reply.sent) return send.call(reply, payload)
    onFailure(payload)
    sendFallback(reply, payload)
    return reply
  }
  send.call(reply, body)
}

/** Bypasses all hooks, since one of them is failing. Fastify has already set the headers that the failure requires. */
function sendFallback(reply: FastifyReply, thrown: Error & { headers?: object }): void {
  for (const name of Object.keys(thrown.headers ?? {})) reply.removeHeader(name)
  dropInvalidHeaders(reply)
  const body = asJson(errors.internal(thrown), reply.request.id)
  reply.type('application/json; charset=utf-8').header('content-length', Buffer.byteLength(body))
  reply.raw.writeHead(500, reply.getHeaders() as OutgoingHttpHeaders).end(body)
}

/** Removes headers that Node refuses to send: a handler may have put anything into them. */
export function dropInvalidHeaders(reply: FastifyReply): void {
  for (const [name, value] of Object.entries(reply.getHeaders())) if (!isValid(name, value)) reply.removeHeader(name)
}

function isValid(name: string, value: unknown): boolean {
  try {
    validateHeaderName(name)
    validateHeaderValue(name, value as string)
    return true
  } catch {
    return false
  }
}
