import type { Socket } from 'node:net'
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { AppError, errors } from '../lib/errors.ts'
import { IncomingMessage, ServerResponse } from '../lib/http.ts'
import type { HttpSocket } from '../lib/node-http.ts'
import { hasOwnTimeout } from '../lib/own-timeout.ts'
import { toAppError } from './fault.ts'

/** How long a client may go on reading our last reply and sending unread bytes before its socket is destroyed. */
const LINGER_MS = 1_000

/** A URL that matches no route. */
const NOWHERE = '/.fault'

const kFault = Symbol('rhone.fault')

interface MayBeFaulty extends IncomingMessage {
  [kFault]?: AppError
}

/**
 * Sends everything that bypasses Fastify's hooks back through them. Fastify or Node answers bad URLs, malformed HTTP,
 * late headers and the like before any hook runs: without our headers, uncounted, unlimited, unlogged. Here each
 * becomes an ordinary request that carries its fault, runs through every `onRequest` hook, and fails at `preParsing`
 * with {@link faultOf}.
 */
export interface RawFaults {
  /** For Fastify's option `frameworkErrors`. */
  onFrameworkError(error: FastifyError, request: FastifyRequest, reply: FastifyReply): void
  /** For Fastify's option `clientErrorHandler`. */
  onClientError(error: Error & { code?: string }, socket: Socket): void
}

/** What is wrong with a request that Fastify has routed anyway. */
export function faultOf(raw: MayBeFaulty): AppError | null {
  return raw[kFault] ?? hostFault(raw)
}

export function rawFaults(app: FastifyInstance): RawFaults {
  const faulty = new WeakSet<Socket>()

  app.server.on('checkExpectation', (raw: IncomingMessage, response: ServerResponse) => {
    const fault = new AppError('BAD_REQUEST', { statusCode: 417, message: 'The Expect header cannot be met' })
    app.routing(carrying(fault, raw), response)
  })
  app.server.on('connect', (raw: IncomingMessage, socket: Socket) => {
    socket.on('error', () => socket.destroy()) // Node has removed its own listener
    answer(errors.methodNotAllowed([]), raw, socket)
  })

  return {
    onFrameworkError(error, request, reply) {
      request.raw.url = NOWHERE
      app.routing(carrying(toAppError(error, request), request.raw), reply.raw)
    },
    onClientError(error, socket) {
      if (error.code === 'ERR_HTTP_REQUEST_TIMEOUT' && hasOwnTimeout(socket)) return
      if (faulty.has(socket)) return // the parser complains about every chunk that follows
      faulty.add(socket)
      settle(error, socket)
    }
  }

  function settle(error: Error & { code?: string }, socket: HttpSocket): void {
    const pending = socket._httpMessage
    if (error.code === 'ECONNRESET' || !socket.writable) socket.destroy(error)
    else if (!pending && socket.parser?.incoming?.complete === false)
      socket.destroy(error) // the rest of a request that was answered before it had fully arrived
    else if (!pending) answer(ofConnection(error), blankRequest(socket), socket)
    else if (pending.req.complete)
      pending.once('close', () => settle(error, socket)) // its request arrived whole before the fault
    else if (pending.writableEnded)
      pending.once('finish', () => closeGently(socket)) // the reply is complete
    else if (pending.headersSent) socket.destroy(error)
    else failBody(pending, ofConnection(error))
  }

  function answer(fault: AppError, raw: IncomingMessage, socket: Socket): void {
    raw.url = NOWHERE
    const response = new ServerResponse(raw)
    response.shouldKeepAlive = false
    response.assignSocket(socket)
    // What Node does for its own replies.
    response.once('finish', () => {
      response.detachSocket(socket)
      closeGently(socket)
      response.emit('close')
    })
    app.routing(carrying(fault, raw), response)
  }
}

/** Fails a request whose body broke in transit: at once if it is being read, otherwise as soon as it would be. */
function failBody(response: ServerResponse, fault: AppError): void {
  response.shouldKeepAlive = false
  const raw = carrying(fault, response.req)
  if (raw.listenerCount('error') > 0) raw.emit('error', fault)
}

function carrying(fault: AppError, raw: MayBeFaulty): IncomingMessage {
  raw[kFault] = fault
  return raw
}

/** A placeholder request for hooks when none could be parsed. */
function blankRequest(socket: Socket): IncomingMessage {
  const raw = new IncomingMessage(socket)
  raw.method = 'GET'
  raw.httpVersion = '1.1'
  raw.httpVersionMajor = 1
  raw.httpVersionMinor = 1
  raw.complete = true
  raw.push(null)
  return raw
}

/** Closing with unread bytes resets the connection, and the client may lose the reply: so we let it finish sending. */
function closeGently(socket: Socket): void {
  const deadline = setTimeout(() => socket.destroy(), LINGER_MS).unref()
  socket.once('close', () => clearTimeout(deadline))
  socket.end()
}

/** Node's HTTP server errors for a connection whose bytes never became a request. */
function ofConnection(error: Error & { code?: string }): AppError {
  if (error instanceof AppError) return error
  switch (error.code) {
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return new AppError('BAD_REQUEST', {
        statusCode: 408,
        message: 'The request took too long to arrive',
        cause: error
      })
    case 'HPE_HEADER_OVERFLOW':
      return new AppError('BAD_REQUEST', {
        statusCode: 431,
        message: 'The request headers are too large',
        cause: error
      })
    case 'HPE_CHUNK_EXTENSIONS_OVERFLOW':
      return new AppError('PAYLOAD_TOO_LARGE', { cause: error })
    default:
      return errors.badRequest('The request is not valid HTTP', error)
  }
}

const kHost = Symbol('rhone.valid-host')
/** The last valid Host of a connection: its requests usually have the same one. */
type Vetted = Socket & { [kHost]?: string }

/** A name, an IPv4 address or an IPv6 address in brackets, and a port; empty when there is no authority. */
const HOST = /^(?:[\w.-]*|\[[\da-f:.]+\])(?::\d{1,5})?$/i

/**
 * HTTP/1.1 requires exactly one valid Host per request. Node shows the first of several; an upstream proxy may have
 * used another.
 */
function hostFault(raw: IncomingMessage): AppError | null {
  const { host } = raw.headers
  if (host === undefined)
    return raw.httpVersionMajor === 1 && raw.httpVersionMinor === 1
      ? errors.badRequest('The request has no Host header')
      : null
  const socket: Vetted = raw.socket
  if (socket[kHost] !== host) {
    if (!HOST.test(host)) return errors.badRequest('The Host header is not valid')
    socket[kHost] = host
  }
  return countHosts(raw.rawHeaders) > 1 ? errors.badRequest('The request has several Host headers') : null
}

/** @param rawHeaders alternating names and values */
function countHosts(rawHeaders: readonly string[]): number {
  let count = 0
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index]!
    if (name.length === 4 && name.toLowerCase() === 'host') count++
  }
  return count
}
