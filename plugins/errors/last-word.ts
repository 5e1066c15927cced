import { type OutgoingHttpHeaders, validateHeaderName, validateHeaderValue } from 'node:http'
import type { FastifyReply } from 'fastify'
import { errors } from '../lib/errors.ts'
import { asJson } from './reply.ts'

/**
 * Sends the reply to an error. Where that fails, too, because a hook does, the last word would be Fastify's, which quotes
 * the failure to the client. It is ours instead, and `onFailure` is told.
 */
export function sendGuarded(reply: FastifyReply, body: string, onFailure: (thrown: Error) => void): void {
  const { send } = reply
  reply.send = payload => {
    if (!(payload instanceof Error) || reply.sent) return send.call(reply, payload)
    onFailure(payload)
    sendLastWord(reply, payload)
    return reply
  }
  send.call(reply, body)
}

/** Past all hooks, since one of them is what fails. Fastify has put the headers that the failure asks for on the reply. */
function sendLastWord(reply: FastifyReply, thrown: Error & { headers?: object }): void {
  for (const name of Object.keys(thrown.headers ?? {})) reply.removeHeader(name)
  dropInvalidHeaders(reply)
  const body = asJson(errors.internal(thrown), reply.request.id)
  reply.type('application/json; charset=utf-8').header('content-length', Buffer.byteLength(body))
  reply.raw.writeHead(500, reply.getHeaders() as OutgoingHttpHeaders).end(body)
}

/** Takes out what Node refuses to send: a handler may have put anything into a header. */
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
