import type { FastifyInstance } from 'fastify'
import { NotOurs } from '../domain/deployment-work.ts'

const CHANNEL = 'rhone_deployments'

interface Notice {
  readonly id: string
  readonly status: string
}

/** Hears of deployments that are ended while somebody works on them, on whichever instance. */
export class Watch {
  readonly #watched = new Map<string, AbortController>()
  #ending: Promise<() => Promise<void>> | undefined

  /**
   * A signal that is aborted when the deployment is over by another's hand. News that were missed while there was no
   * connection are no harm: every step asks for its claim.
   */
  of(id: string): { signal: AbortSignal; end: () => void } {
    const controller = new AbortController()
    this.#watched.set(id, controller)
    const end = () => {
      if (this.#watched.get(id) === controller) this.#watched.delete(id)
    }
    return { signal: controller.signal, end }
  }

  listen(postgres: FastifyInstance['postgres']): void {
    this.#ending = postgres.listen(
      CHANNEL,
      payload => this.#hear(JSON.parse(payload)),
      () => {}
    )
    this.#ending.catch(() => {}) // whoever closes is told
  }

  async close(): Promise<void> {
    const end = await this.#ending
    await end?.()
  }

  #hear({ id, status }: Notice): void {
    if (status === 'cancelled' || status === 'deleted') this.#watched.get(id)?.abort(new NotOurs())
  }
}
