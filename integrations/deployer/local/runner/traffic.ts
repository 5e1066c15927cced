import type { Duplex } from 'node:stream'

/** What is on its way through a release. */
export class Traffic {
  readonly #tunnels = new Set<Duplex>()
  readonly #exchanges = new Set<() => void>()
  readonly #waiting = new Set<() => void>()

  /** @param cut ends it early @returns what to call when it is over; again is once */
  begin(cut: () => void): () => void {
    this.#exchanges.add(cut)
    return () => {
      this.#exchanges.delete(cut)
      if (this.#exchanges.size === 0) for (const resolve of this.#waiting) resolve()
    }
  }

  /** A connection that has become something else than HTTP, and may never end. */
  addTunnel(socket: Duplex): void {
    this.#tunnels.add(socket)
    socket.once('close', () => this.#tunnels.delete(socket))
  }

  /** Lets requests end for `milliseconds` at most, then cuts off whatever is left. */
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
