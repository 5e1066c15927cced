import type { IncomingMessage, Server } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { hasCode } from '../../../../plugins/lib/errno.ts'
import { createServer, ServerResponse } from '../../../../plugins/lib/http.ts'
import { ALL_HEADERS, MAX_HEAD, ProxyExchange } from './exchange.ts'
import type { App } from './fleet.ts'
import { hostOf, slugOf, targetOf } from './headers.ts'
import { type Notice, notices, sendNotice } from './notices.ts'

/** Milliseconds after which an idle connection is closed. */
const SILENCE = 300_000
const MAX_CONNECTIONS = 2_000

/** Serves apps under the host names `<slug>.localhost`, on the loopback interface only. */
export class AppProxy {
  readonly #bySlug: (slug: string) => App | null
  readonly #servers: Server[] = []

  constructor(bySlug: (slug: string) => App | null) {
    this.#bySlug = bySlug
  }

  /** @returns the port: the first free one of these; 0 stands for any */
  async listen(ports: readonly number[]): Promise<number> {
    for (const wanted of ports) {
      const port = await this.#listenOn(wanted, '127.0.0.1')
      if (port === null) continue
      // For browsers that resolve localhost only to this address, if the machine has it.
      await this.#listenOn(port, '::1')
      return port
    }
    throw new Error(`none of the ports ${ports.join(', ')} is free`)
  }

  async close(): Promise<void> {
    const closed = this.#servers.map(server => new Promise(resolve => server.close(resolve)))
    for (const server of this.#servers) server.closeAllConnections()
    await Promise.all(closed)
  }

  #listenOn(port: number, host: string): Promise<number | null> {
    const server = createServer({
      headersTimeout: 10_000,
      requestTimeout: 0,
      maxHeaderSize: MAX_HEAD,
      shouldUpgradeCallback: mayUpgrade
    })
    server.maxHeadersCount = ALL_HEADERS
    server.maxConnections = MAX_CONNECTIONS
    server.timeout = SILENCE
    // The app decides whether it wants the body.
    for (const event of ['request', 'checkContinue', 'checkExpectation'])
      server.on(event, (request, response) => this.#handle(request, response))
    server.on('upgrade', (request, socket, head) => this.#handleUpgrade(request, socket, head))
    return new Promise((resolve, reject) => {
      server.once('error', error =>
        hasCode(error, 'EADDRINUSE', 'EADDRNOTAVAIL', 'EAFNOSUPPORT', 'EACCES') ? resolve(null) : reject(error)
      )
      server.listen(port, host, () => {
        // Running out of file descriptors costs only the connection that could not be accepted.
        server.on('error', console.error)
        this.#servers.push(server)
        resolve((server.address() as AddressInfo).port)
      })
    })
  }

  #handle(request: IncomingMessage, response: ServerResponse): void {
    const app = this.#appOf(request)
    if ('status' in app) sendNotice(request, response, app)
    else new ProxyExchange(app, request, response).begin()
  }

  #handleUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    // The app decides whether to upgrade; until then, it may also send an ordinary reply.
    const response = new ServerResponse(request)
    response.shouldKeepAlive = false
    response.assignSocket(socket as Socket)
    response.once('finish', () => socket.end())
    socket.on('error', () => socket.destroy())
    const app = this.#appOf(request)
    if ('status' in app) sendNotice(request, response, app)
    else new ProxyExchange(app, request, response, { socket: socket as Socket, head }).begin()
  }

  #appOf(request: IncomingMessage): App | Notice {
    if (!targetOf(request.url!).path.startsWith('/') && request.url !== '*') return notices.badRequest
    const slug = slugOf(hostOf(request))
    return (slug !== null && this.#bySlug(slug)) || notices.unknown
  }
}

/** With a body it is an ordinary request, as for any server that does not know the other protocol. */
function mayUpgrade({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] === undefined && Number(headers['content-length'] ?? 0) === 0
}
