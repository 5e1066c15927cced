import type { Socket } from 'node:net'
import type { HttpSocket } from '../lib/node-http.ts'
import { Connection } from './connection.ts'

/** How many connections are looked at to find one that may go, whatever their number. */
const PROBES = 32

/** Who is connected: all connections, and those of each address. */
export class Crowd {
  readonly #all = new Set<Connection>()
  readonly #bySocket = new Map<Socket, Connection>()
  readonly #byAddress = new Map<string, Set<Connection>>()

  get size(): number {
    return this.#all.size
  }

  [Symbol.iterator](): Iterator<Connection> {
    return this.#all.values()
  }

  /** @param address undefined where any number may come from it */
  add(socket: Socket, address: string | undefined): Connection {
    const neighbours = address === undefined ? undefined : this.of(address)
    const connection = new Connection(socket, neighbours)
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

  of(address: string): Set<Connection> {
    return this.#byAddress.get(address) ?? new Set()
  }

  /** The connection that a socket belongs to; that of TLS is another one than was accepted. */
  find(socket: HttpSocket): Connection | undefined {
    return this.#bySocket.get(socket._parent ?? socket)
  }

  /** Closes one connection that serves no request, best one that never did; false when none was found. */
  makeRoom(among: Set<Connection> = this.#all): boolean {
    let idle: Connection | undefined
    let probes = Math.min(PROBES, among.size)
    for (const candidate of among) {
      if (probes-- === 0) break
      among.delete(candidate) // and to the end, so that the next search begins where this one ended
      among.add(candidate)
      if (candidate.state === 'new') return this.#evict(candidate)
      if (candidate.state === 'idle') idle ??= candidate
    }
    return idle !== undefined && this.#evict(idle)
  }

  #evict(connection: Connection): true {
    this.#forget(connection) // its place is free now, while its socket closes a little later
    connection.close()
    return true
  }

  #forget(connection: Connection): void {
    this.#all.delete(connection)
    connection.neighbours?.delete(connection)
  }
}
