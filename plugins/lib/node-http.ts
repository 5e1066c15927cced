import type { IncomingMessage, ServerResponse } from 'node:http'
import { Socket } from 'node:net'
import { duplexPair } from 'node:stream'
import { TLSSocket } from 'node:tls'
import { createServer } from './http.ts'

/**
 * Properties that Node's HTTP server keeps on a socket. They are undocumented, though as old as the module. Code that
 * depends on them calls {@link missingInternals} at boot and does without them if one is missing.
 */
export interface HttpSocket extends Socket {
  /** The response in progress; responses to pipelined requests wait behind it. */
  readonly _httpMessage?: ServerResponse | null
  readonly parser?: HttpParser | null
  /** The TCP socket beneath a TLS socket. */
  readonly _parent?: Socket | null
  readonly _handle?: { readonly writeQueueSize?: number } | null
  /** Bytes handed to Node's native handle, sent or not. */
  readonly _bytesDispatched?: number
}

export interface HttpParser {
  /** The request that was last read or is still being read. */
  readonly incoming?: IncomingMessage | null
  /** Called with each request, once its head has been read. */
  onIncoming?: ((request: IncomingMessage, keepAlive: boolean) => number) | null
}

/** Milliseconds after which the probe request counts as lost. It usually takes less than one. */
const PATIENCE = 1_000

/**
 * Serves one request in memory and inspects the socket meanwhile.
 *
 * @param seen wraps the socket as this function sees it, to simulate a changed Node in tests
 * @returns the names whose meaning differs from {@link HttpSocket}, including missing ones
 */
export async function missingInternals(seen: (socket: HttpSocket) => HttpSocket = socket => socket): Promise<string[]> {
  const [client, end] = duplexPair()
  const socket = seen(end as HttpSocket)
  const missing = new Set<string>()
  const expect = (name: string, isAsExpected: boolean) => void (isAsExpected || missing.add(name))
  const served = Promise.withResolvers<void>()
  let isHandedOver = false

  const server = createServer((request, response) => {
    expect('socket._httpMessage', socket._httpMessage === response)
    expect('socket.parser.incoming', socket.parser?.incoming === request && request.complete === false)
    response.on('close', () => {
      expect('socket._httpMessage', socket._httpMessage == null)
      served.resolve()
    })
    request.resume().on('end', () => response.end())
  })
  server.emit('connection', end)
  const { parser } = socket
  const handle = parser?.onIncoming
  if (parser && handle)
    parser.onIncoming = (request, keepAlive) => {
      isHandedOver = true
      return handle(request, keepAlive)
    }
  client.resume().write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n')
  setImmediate(() => client.write('1'))
  const timer = setTimeout(served.resolve, PATIENCE)
  await served.promise
  clearTimeout(timer)
  client.destroy()
  end.destroy()
  expect('socket.parser.onIncoming', isHandedOver)
  return [...missing]
}

/** The same check for HTTPS servers: whether a TLS socket exposes the socket beneath it. */
export function missingTlsInternals(): string[] {
  const below = new Socket()
  const socket: HttpSocket = new TLSSocket(below)
  socket.destroy()
  return socket._parent === below ? [] : ['socket._parent']
}
