import { setTimeout as delay } from 'node:timers/promises'
import { type Impairment, impairmentOf, type PostgresTarget } from '../lib/postgres.ts'
import { ask, openSession, type Session } from '../lib/postgres-session.ts'

/** What a reachable database accepts: everything, reads only, or no more data. */
export type DatabaseState = 'writable' | Impairment

export type HostFinding = DatabaseState | 'unreachable'

export interface AvailabilitySettings {
  target: PostgresTarget
  applicationName: string
  /** Seconds. */
  connectTimeout: number
  /** Why the target must not be used, whatever its own answers; by default it may always be used. */
  refusal?: () => Error | undefined
  /** Called for the first finding and on every change. */
  onChange: (finding: HostFinding, previous: HostFinding | undefined, reason?: unknown) => void
}

/** First pause between pings while the database accepts no writes, in milliseconds; doubles each time. */
const MIN_PAUSE = 250
const MAX_PAUSE = 5_000
/** How long the ping connection stays open without a ping, in milliseconds. */
const PING_SESSION_LIFE = 60_000

/** A standby counts as read-only too. */
const READ_ONLY_PROBE = `select current_setting('transaction_read_only') = 'on' as "isReadOnly"`
/** Allocates a few disk pages and frees them again. */
const SPACE_PROBE = `create temporary table rhone_space_probe on commit drop as
  select repeat(n::text, 4000) as filler from generate_series(1, 20) n`

/**
 * Tracks whether the database is reachable and writable, from reports by other parts and from its own pings. Pings use
 * a separate connection: it is free when all others are busy, and can be dropped when no answer comes.
 */
export class Availability {
  readonly #settings: AvailabilitySettings
  #target: PostgresTarget
  readonly #ending = new AbortController()
  #finding: HostFinding | undefined
  #session: Session | undefined
  #unused: NodeJS.Timeout | undefined
  #watching: Promise<void> | undefined

  constructor(settings: AvailabilitySettings) {
    this.#settings = settings
    this.#target = settings.target
  }

  /** Pings over a new connection to this target from now on. */
  retarget(target: PostgresTarget): void {
    this.#target = target
    this.#close(this.#session)
  }

  report(finding: HostFinding, reason?: unknown): void {
    if (this.#ending.signal.aborted) return
    const previous = this.#finding
    if (previous !== finding) {
      this.#finding = finding
      this.#settings.onChange(finding, previous, reason)
    }
    if (finding !== 'writable') this.watch()
  }

  /** A connection was opened. Even if it is writable, the disk may still be full. */
  reportOpened(isReadOnly: boolean): void {
    if (isReadOnly) this.report('read_only')
    else if (this.#finding !== 'full') this.report('writable')
  }

  /** Pings until the database accepts writes. */
  watch(): void {
    this.#watching ??= this.#watch().finally(() => {
      this.#watching = undefined
    })
  }

  /** Rejects if the database does not answer within `timeoutMs`, for any reason. */
  async ping(timeoutMs: number): Promise<DatabaseState> {
    // The code that refused the target has reported why.
    const refusal = this.#settings.refusal?.()
    if (refusal !== undefined) throw refusal
    const session = this.#pingSession()
    try {
      const state = await this.#probe(session, timeoutMs)
      // The next ping may reach another server, or one where a changed setting affects new sessions only.
      if (state === 'read_only') this.#close(session)
      this.report(state)
      return state
    } catch (reason) {
      this.#close(session)
      this.report('unreachable', reason)
      throw reason
    }
  }

  async end(): Promise<void> {
    this.#ending.abort()
    this.#close(this.#session)
    await this.#watching
  }

  async #probe(session: Session, timeoutMs: number): Promise<DatabaseState> {
    const [row] = (await ask(session, READ_ONLY_PROBE, timeoutMs)) as { isReadOnly: boolean }[]
    if (row?.isReadOnly) return 'read_only'
    // The probe has a small cost, so it runs only while the database was last found full.
    if (this.#finding !== 'full') return 'writable'
    try {
      await ask(session, SPACE_PROBE, timeoutMs)
      return 'writable'
    } catch (error) {
      const impairment = impairmentOf(error)
      if (impairment === undefined) throw error
      return impairment
    }
  }

  async #watch(): Promise<void> {
    const { signal } = this.#ending
    for (let attempts = 0; !signal.aborted; attempts++) {
      const state = await this.ping(this.#settings.connectTimeout * 1_000).catch(() => 'unreachable')
      if (state === 'writable') return
      const pause = Math.min(MAX_PAUSE, MIN_PAUSE * 2 ** attempts) * (0.5 + Math.random() / 2)
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
    const session = openSession(this.#target, {
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
