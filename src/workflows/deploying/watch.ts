import type { FastifyInstance } from 'fastify'
import type { Db } from '../../domain/base/db.ts'
import { type Claimed, ClaimLost, heldClaims } from '../../domain/deployments/work.ts'

const CHANNEL = 'rhone_deployments'
/** Milliseconds between checks for changes without a notification: a lost claim or a deleted app. */
const LOOK_INTERVAL = 2_000
/** Milliseconds within which deployments removed together with one app or team count as one event. */
const NOTIFY_AFTER = 100

interface Notice {
  readonly id: string
  readonly status: string
}

interface Watched {
  readonly id: string
  readonly claim: string
  readonly controller: AbortController
}

/** Aborts local work when a deployment is ended or claimed elsewhere, on any instance. */
export class ClaimWatch {
  readonly #db: () => Db
  readonly #watched = new Set<Watched>()
  #timer: NodeJS.Timeout | undefined
  #notifying: NodeJS.Timeout | undefined
  #onGone = () => {}
  #ending: Promise<() => Promise<void>> | undefined

  constructor(db: () => Db) {
    this.#db = db
  }

  /** Returns a signal that aborts when the worker no longer owns the deployment. */
  of({ id, claim }: Pick<Claimed, 'id' | 'claim'>): { signal: AbortSignal; end: () => void } {
    const watched = { id, claim, controller: new AbortController() }
    this.#watched.add(watched)
    this.#timer ??= setInterval(() => this.#look(), LOOK_INTERVAL).unref()
    return { signal: watched.controller.signal, end: () => this.#forget(watched) }
  }

  /** @param onGone called once, shortly after any number of deployments were removed with their apps */
  listen(postgres: Pick<FastifyInstance['postgres'], 'listen'>, onGone: () => void = () => {}): void {
    this.#onGone = onGone
    this.#ending = postgres.listen(
      CHANNEL,
      payload => this.#hear(JSON.parse(payload)),
      () => this.#look()
    )
    this.#ending.catch(() => {}) // reported to the caller of close
  }

  async close(): Promise<void> {
    clearInterval(this.#timer)
    clearTimeout(this.#notifying)
    const end = await this.#ending
    await end?.()
  }

  #hear({ id, status }: Notice): void {
    if (status === 'deleted') {
      this.#notifying ??= setTimeout(() => this.#notifyGone(), NOTIFY_AFTER).unref()
      void this.#look()
    }
    if (status === 'cancelled') this.#abort([...this.#watched].filter(watched => watched.id === id))
  }

  #notifyGone(): void {
    this.#notifying = undefined
    this.#onGone()
  }

  async #look(): Promise<void> {
    const watched = [...this.#watched]
    if (watched.length === 0) return
    try {
      const held = await heldClaims(this.#db(), watched)
      this.#abort(watched.filter(({ claim }) => !held.has(claim)))
    } catch {
      // The database is down, which is reported elsewhere. No work proceeds meanwhile: every step checks its claim.
    }
  }

  #abort(watched: readonly Watched[]): void {
    for (const { controller } of watched) controller.abort(new ClaimLost())
  }

  #forget(watched: Watched): void {
    this.#watched.delete(watched)
    if (this.#watched.size > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }
}
