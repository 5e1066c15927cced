import type { Duplex } from 'node:stream'

/** The requests and tunnels in progress through a release. */
export class InFlight {
  readonly #tunnels = new Set<Duplex>()
  readonly #exchanges = new Set<() => void>()
  readonly #waiting = new Set<() => void>()

  /** @param cut aborts the request @returns the function to call at its end; repeated calls have no effect */
  begin(cut: () => void): () => void {
    this.#exchanges.add(cut)
    return () => {
      this.#exchanges.delete(cut)
      if (this.#exchanges.size === 0) for (const resolve of this.#waiting) resolve()
    }
  }

  /** Adds a connection that has switched protocols and may never end. */
  addTunnel(socket: Duplex): void {
    this.#tunnels.add(socket)
    socket.once('close', () => this.#tunnels.delete(socket))
  }

  /** Waits up to `milliseconds` for requests to finish, then aborts the rest. */
  async drain(milliseconds: number): Promise<void> {
    if (this.#exchanges.size > 0) {
      const { promise, resolve } = Promise.withResolvers<void>()
      const overtime = setTimeout(resolve, milliseconds)
      this.#waiting.add(resolve)
      await promise
      clearTimeout(overtime)
      this.#waiting.delete(resolve)
    }
    for (const cut of this.#exchanges) cut()
    for (const tunnel of this.#tunnels) tunnel.destroy()
  }
}
