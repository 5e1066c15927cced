import { setTimeout as delay } from 'node:timers/promises'
import type { PostgresTarget } from '../lib/postgres.ts'
import { ask, openSession, type Session } from '../lib/postgres-session.ts'

export interface ReachabilitySettings {
  target: PostgresTarget
  applicationName: string
  /** Seconds. */
  connectTimeout: number
  /** Told of changes alone, and of the first finding. */
  onChange: (reachable: boolean, reason?: unknown) => void
}

/** Between two attempts while the database is away, in milliseconds; doubled after each failure. */
const MIN_PAUSE = 250
const MAX_PAUSE = 5_000
/** How long the connection for pings stays open without one, in milliseconds. */
const PING_SESSION_LIFE = 60_000

/**
 * Knows whether the database can be reached: from what others tell, and by asking over a connection of its own, which is
 * free when all others are busy, and may be given up when no answer comes.
 */
export class Reachability {
  readonly #settings: ReachabilitySettings
  readonly #ending = new AbortController()
  #state: boolean | undefined
  #session: Session | undefined
  #unused: NodeJS.Timeout | undefined
  #watching: Promise<void> | undefined

  constructor(settings: ReachabilitySettings) {
    this.#settings = settings
  }

  report(reachable: boolean, reason?: unknown): void {
    if (this.#ending.signal.aborted) return
    if (this.#state !== reachable) {
      this.#state = reachable
      this.#settings.onChange(reachable, reason)
    }
    if (!reachable) this.check()
  }

  /** Asks until the database answers. */
  check(): void {
    this.#watching ??= this.#watch().finally(() => {
      this.#watching = undefined
    })
  }

  /** Rejects when the database has not answered within `timeoutMs`, whatever the reason. */
  async ping(timeoutMs: number): Promise<void> {
    const session = this.#pingSession()
    try {
      await ask(session, 'select 1', timeoutMs)
      this.report(true)
    } catch (reason) {
      this.#close(session)
      this.report(false, reason)
      throw reason
    }
  }

  async end(): Promise<void> {
    this.#ending.abort()
    this.#close(this.#session)
    await this.#watching
  }

  async #watch(): Promise<void> {
    const { signal } = this.#ending
    for (let failures = 0; !signal.aborted; failures++) {
      try {
        return await this.ping(this.#settings.connectTimeout * 1_000)
      } catch {
        // Reported by ping.
      }
      const pause = Math.min(MAX_PAUSE, MIN_PAUSE * 2 ** failures) * (0.5 + Math.random() / 2)
      await delay(pause, undefined, { signal, ref: false }).catch(() => {})
    }
  }

  #pingSession(): Session {
    this.#session ??= this.#open()
    clearTimeout(this.#unused)
    this.#unused = setTimeout(() => this.#close(this.#session), PING_SESSION_LIFE).unref()
    return this.#session
  }

  #open(): Session {
    const session = openSession(this.#settings.target, {
      applicationName: `${this.#settings.applicationName}-ping`,
      connectTimeout: this.#settings.connectTimeout,
      prepare: false,
      onClose: () => this.#close(session)
    })
    return session
  }

  #close(session: Session | undefined): void {
    if (session === undefined) return
    if (this.#session === session) {
      this.#session = undefined
      clearTimeout(this.#unused)
    }
    session.destroy()
  }
}
