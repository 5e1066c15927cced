import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { HttpSocket } from './node-http.ts'

const kOwnTimeout = Symbol('rhone.own-timeout')

interface MayHaveOwn extends IncomingMessage {
  [kOwnTimeout]?: true
}

/**
 * From now on, the receiver of this request's body bounds its arrival instead of the server's `requestTimeout`. The
 * request keeps its socket, which Node otherwise detaches when the client leaves while the body is read, so that its
 * log line has the address.
 */
export function takeOverTimeout(request: IncomingMessage): void {
  ;(request as MayHaveOwn)[kOwnTimeout] = true
  const { socket } = request
  Object.defineProperty(request, 'socket', { configurable: true, get: () => socket, set() {} })
}

/** Whether its receiver bounds the request that is arriving on a socket. */
export function hasOwnTimeout(socket: Socket): boolean {
  const request = (socket as HttpSocket)._httpMessage?.req as MayHaveOwn | undefined
  return request?.[kOwnTimeout] === true
}
