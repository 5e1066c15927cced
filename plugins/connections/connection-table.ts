import type { Socket } from 'node:net'
import type { HttpSocket } from '../lib/node-http.ts'
import { ClientConnection } from './connection.ts'

/** Maximum number of connections examined when looking for one to evict. */
const PROBES = 32

/** All open connections, also indexed by client address. */
export class ConnectionTable {
  readonly #all = new Set<ClientConnection>()
  readonly #bySocket = new Map<Socket, ClientConnection>()
  readonly #byAddress = new Map<string, Set<ClientConnection>>()

  get size(): number {
    return this.#all.size
  }

  [Symbol.iterator](): Iterator<ClientConnection> {
    return this.#all.values()
  }

  /** @param address undefined if the address is exempt from the limit */
  add(socket: Socket, address: string | undefined): ClientConnection {
    const neighbours = address === undefined ? undefined : this.of(address)
    const connection = new ClientConnection(socket, neighbours)
    this.#bySocket.set(socket, connection)
    this.#all.add(connection)
    if (neighbours !== undefined) this.#byAddress.set(address!, neighbours.add(connection))
    socket.once('close', () => {
      this.#bySocket.delete(socket)
      this.#forget(connection)
      if (neighbours?.size === 0) this.#byAddress.delete(address!)
    })
    return connection
  }

  of(address: string): Set<ClientConnection> {
    return this.#byAddress.get(address) ?? new Set()
  }

  /** Finds a socket's connection. A TLS socket is resolved to the accepted socket beneath it. */
  find(socket: HttpSocket): ClientConnection | undefined {
    return this.#bySocket.get(socket._parent ?? socket)
  }

  /** Closes one connection with no request in progress, preferably one never used. Returns false if none was found. */
  makeRoom(among: Set<ClientConnection> = this.#all): boolean {
    let idle: ClientConnection | undefined
    let probes = Math.min(PROBES, among.size)
    for (const candidate of among) {
      if (probes-- === 0) break
      among.delete(candidate) // move to the end, so that the next search continues here
      among.add(candidate)
      if (candidate.state === 'new') return this.#evict(candidate)
      if (candidate.state === 'idle') idle ??= candidate
    }
    return idle !== undefined && this.#evict(idle)
  }

  #evict(connection: ClientConnection): true {
    this.#forget(connection) // frees the slot now; the socket closes a little later
    connection.close()
    return true
  }

  #forget(connection: ClientConnection): void {
    this.#all.delete(connection)
    connection.neighbours?.delete(connection)
  }
}
