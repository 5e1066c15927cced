import type { Socket } from 'node:net'
import type { HttpSocket } from '../lib/node-http.ts'
import { bytesTaken, isTailing, type State, stateOf } from './http-socket.ts'

export interface Patience {
  /** Milliseconds over which the taking of a reply is measured. */
  readonly readTimeout: number
  /** Bytes that must have been taken in that time. */
  readonly readBytes: number
  /** Milliseconds for the rest of a request that has been answered. */
  readonly tailTimeout: number
}

/** One client's connection, looked at from time to time. */
export class Connection {
  /** What HTTP is spoken over: the accepted socket, or the one of TLS above it. */
  http: HttpSocket
  /** The others of the same address; undefined for one that may have any number. */
  readonly neighbours: Set<Connection> | undefined
  readonly #accepted: Socket
  #readingSince = 0
  #takenBefore = 0
  #tailingSince = 0

  constructor(accepted: Socket, neighbours: Set<Connection> | undefined) {
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

  /** Closes without the wait for what was written to be taken, for which the system would hold megabytes for minutes. */
  reset(): void {
    if (this.http === this.#accepted) this.#accepted.resetAndDestroy()
    else this.#accepted.destroy()
  }

  /** Why the connection should be closed, if it should. */
  fault(now: number, patience: Patience): 'slow_reader' | 'late_body' | undefined {
    if (this.#readsTooSlowly(now, patience)) return 'slow_reader'
    if (this.#tailsTooLong(now, patience)) return 'late_body'
    return undefined
  }

  #readsTooSlowly(now: number, { readTimeout, readBytes }: Patience): boolean {
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

  #tailsTooLong(now: number, { tailTimeout }: Patience): boolean {
    if (!isTailing(this.http)) this.#tailingSince = 0
    else if (this.#tailingSince === 0) this.#tailingSince = now
    else return now - this.#tailingSince >= tailTimeout
    return false
  }
}
