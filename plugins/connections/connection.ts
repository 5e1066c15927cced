import type { Socket } from 'node:net'
import type { HttpSocket } from '../lib/node-http.ts'
import { bytesTaken, isTailing, type State, stateOf } from './http-socket.ts'

export interface SlowClientLimits {
  /** Window in milliseconds for measuring a client's read rate. */
  readonly readTimeout: number
  /** Bytes a client must read within that window. */
  readonly readBytes: number
  /** Milliseconds for the rest of an already answered request to arrive. */
  readonly tailTimeout: number
}

/** One client connection, checked periodically. */
export class ClientConnection {
  /** The socket that carries HTTP: the accepted socket, or the TLS socket on top of it. */
  http: HttpSocket
  /** All connections from the same address; undefined if the address is exempt from the limit. */
  readonly neighbours: Set<ClientConnection> | undefined
  readonly #accepted: Socket
  #readingSince = 0
  #takenBefore = 0
  #tailingSince = 0

  constructor(accepted: Socket, neighbours: Set<ClientConnection> | undefined) {
    this.#accepted = accepted
    this.http = accepted
    this.neighbours = neighbours
  }

  get state(): State {
    return stateOf(this.http)
  }

  close(): void {
    this.#accepted.destroy()
  }

  /** Closes without flushing: otherwise the kernel could hold megabytes of unread data for minutes. */
  reset(): void {
    if (this.http === this.#accepted) this.#accepted.resetAndDestroy()
    else this.#accepted.destroy()
  }

  /** The reason to close the connection, if there is one. */
  fault(now: number, patience: SlowClientLimits): 'slow_reader' | 'late_body' | undefined {
    if (this.#readsTooSlowly(now, patience)) return 'slow_reader'
    if (this.#tailsTooLong(now, patience)) return 'late_body'
    return undefined
  }

  #readsTooSlowly(now: number, { readTimeout, readBytes }: SlowClientLimits): boolean {
    if (this.http.writableLength === 0) {
      this.#readingSince = 0
      return false
    }
    if (this.#readingSince !== 0 && now - this.#readingSince < readTimeout) return false
    const taken = bytesTaken(this.http)
    const isSlow = this.#readingSince !== 0 && taken - this.#takenBefore < readBytes
    this.#readingSince = now
    this.#takenBefore = taken
    return isSlow
  }

  #tailsTooLong(now: number, { tailTimeout }: SlowClientLimits): boolean {
    if (!isTailing(this.http)) this.#tailingSince = 0
    else if (this.#tailingSince === 0) this.#tailingSince = now
    else return now - this.#tailingSince >= tailTimeout
    return false
  }
}
