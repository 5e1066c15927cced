import type { FastifyInstance } from 'fastify'
import type { Db } from '../../domain/base/db.ts'
import { type Claimed, heldClaims, NotOurs } from '../../domain/deployments/work.ts'

const CHANNEL = 'rhone_deployments'
/** Milliseconds between two looks at what nobody tells of: a claim that was lost, an app that is gone. */
const LOOK_INTERVAL = 2_000
/** Milliseconds in which deployments that go with one app, or with one team, are one event. */
const TELL_AFTER = 100

interface Notice {
  readonly id: string
  readonly status: string
}

interface Watched {
  readonly id: string
  readonly claim: string
  readonly controller: AbortController
}

/** Notices when deployments that are worked on here are ended, or taken up, by somebody else on whichever instance. */
export class Watch {
  readonly #db: () => Db
  readonly #watched = new Set<Watched>()
  #timer: NodeJS.Timeout | undefined
  #telling: NodeJS.Timeout | undefined
  #onGone = () => {}
  #ending: Promise<() => Promise<void>> | undefined

  constructor(db: () => Db) {
    this.#db = db
  }

  /** A signal that is aborted when the deployment is no longer that worker's. */
  of({ id, claim }: Pick<Claimed, 'id' | 'claim'>): { signal: AbortSignal; end: () => void } {
    const watched = { id, claim, controller: new AbortController() }
    this.#watched.add(watched)
    this.#timer ??= setInterval(() => this.#look(), LOOK_INTERVAL).unref()
    return { signal: watched.controller.signal, end: () => this.#forget(watched) }
  }

  /** @param onGone called once, a moment after any number of deployments have gone with their apps */
  listen(postgres: Pick<FastifyInstance['postgres'], 'listen'>, onGone: () => void = () => {}): void {
    this.#onGone = onGone
    this.#ending = postgres.listen(
      CHANNEL,
      payload => this.#hear(JSON.parse(payload)),
      () => this.#look()
    )
    this.#ending.catch(() => {}) // whoever closes is told
  }

  async close(): Promise<void> {
    clearInterval(this.#timer)
    clearTimeout(this.#telling)
    const end = await this.#ending
    await end?.()
  }

  #hear({ id, status }: Notice): void {
    if (status === 'deleted') {
      this.#telling ??= setTimeout(() => this.#tellGone(), TELL_AFTER).unref()
      void this.#look()
    }
    if (status === 'cancelled') this.#abort([...this.#watched].filter(watched => watched.id === id))
  }

  #tellGone(): void {
    this.#telling = undefined
    this.#onGone()
  }

  async #look(): Promise<void> {
    const watched = [...this.#watched]
    if (watched.length === 0) return
    try {
      const held = await heldClaims(this.#db(), watched)
      this.#abort(watched.filter(({ claim }) => !held.has(claim)))
    } catch {
      // The database is away, which others report. Nothing is done meanwhile: every step asks for its claim.
    }
  }

  #abort(watched: readonly Watched[]): void {
    for (const { controller } of watched) controller.abort(new NotOurs())
  }

  #forget(watched: Watched): void {
    this.#watched.delete(watched)
    if (this.#watched.size > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }
}
