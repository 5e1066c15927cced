import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { Socket } from 'node:net'
import { duplexPair } from 'node:stream'
import { TLSSocket } from 'node:tls'

/**
 * What Node's HTTP server keeps at a socket. These names are not documented, though as old as the module: what depends on
 * them asks {@link missingInternals} at boot, and does without where one is gone.
 */
export interface HttpSocket extends Socket {
  /** The response that the socket is busy with; those to pipelined requests wait behind it. */
  readonly _httpMessage?: ServerResponse | null
  readonly parser?: HttpParser | null
  /** The TCP socket beneath one of TLS. */
  readonly _parent?: Socket | null
  readonly _handle?: { readonly writeQueueSize?: number } | null
  /** Bytes handed to the system's side of Node, sent or not. */
  readonly _bytesDispatched?: number
}

export interface HttpParser {
  /** The request that was read last, or whose body is being read. */
  readonly incoming?: IncomingMessage | null
  /** Called with each request, once its head has been read. */
  onIncoming?: ((request: IncomingMessage, keepAlive: boolean) => number) | null
}

/** Milliseconds after which the request counts as lost. It usually takes less than one. */
const PATIENCE = 1_000

/**
 * Serves one request in memory and looks at what this Node keeps at its socket meanwhile.
 *
 * @param seen gives the socket as this function sees it, for tests of a Node that has changed
 * @returns the names that mean something else than {@link HttpSocket} says, or nothing
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

/** The same for servers of HTTPS: whether a socket of TLS shows the one beneath it. */
export function missingTlsInternals(): string[] {
  const below = new Socket()
  const socket: HttpSocket = new TLSSocket(below)
  socket.destroy()
  return socket._parent === below ? [] : ['socket._parent']
}
