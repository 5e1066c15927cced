import { createServer, type IncomingMessage, type Server, ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { hasCode } from '../../../../plugins/lib/errno.ts'
import { Exchange } from './exchange.ts'
import type { App } from './fleet.ts'
import { slugOf } from './headers.ts'
import { type Notice, notices, sendNotice } from './notices.ts'

/** Milliseconds after which a connection on which nothing happens is closed. */
const SILENCE = 300_000
const MAX_CONNECTIONS = 2_000

/** Opens apps under the host names `<slug>.localhost`, on the loopback interface alone. */
export class AppProxy {
  readonly #bySlug: (slug: string) => App | null
  readonly #servers: Server[] = []

  constructor(bySlug: (slug: string) => App | null) {
    this.#bySlug = bySlug
  }

  /** @returns the port: the first of these that is free; 0 is any */
  async listen(ports: readonly number[]): Promise<number> {
    for (const wanted of ports) {
      const port = await this.#listenOn(wanted, '127.0.0.1')
      if (port === null) continue
      // Browsers that know only this address of localhost find it here, unless the machine has no such address.
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
    const server = createServer({ headersTimeout: 10_000, requestTimeout: 0, maxHeaderSize: 32_768 })
    server.maxConnections = MAX_CONNECTIONS
    server.timeout = SILENCE
    server.on('request', (request, response) => this.#handle(request, response))
    server.on('upgrade', (request, socket, head) => this.#handleUpgrade(request, socket, head))
    return new Promise((resolve, reject) => {
      server.once('error', error =>
        hasCode(error, 'EADDRINUSE', 'EADDRNOTAVAIL', 'EAFNOSUPPORT', 'EACCES') ? resolve(null) : reject(error)
      )
      server.listen(port, host, () => {
        this.#servers.push(server)
        resolve((server.address() as AddressInfo).port)
      })
    })
  }

  #handle(request: IncomingMessage, response: ServerResponse): void {
    const app = this.#appOf(request)
    if ('status' in app) sendNotice(request, response, app)
    else new Exchange(app, request, response).begin()
  }

  #handleUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    // The app decides what becomes of this connection; until it has, an ordinary reply may come, too.
    const response = new ServerResponse(request)
    response.shouldKeepAlive = false
    response.assignSocket(socket as Socket)
    response.once('finish', () => socket.end())
    socket.on('error', () => socket.destroy())
    const app = this.#appOf(request)
    if ('status' in app) sendNotice(request, response, app)
    else new Exchange(app, request, response, { socket: socket as Socket, head }).begin()
  }

  #appOf(request: IncomingMessage): App | Notice {
    if (!request.url!.startsWith('/') && request.url !== '*') return notices.badRequest
    const slug = slugOf(request.headers.host)
    return (slug !== null && this.#bySlug(slug)) || notices.unknown
  }
}
