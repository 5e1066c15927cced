import { setTimeout as delay } from 'node:timers/promises'
import type { PostgresTarget } from '../lib/postgres.ts'
import {
  choosePrimary,
  type HostReport,
  type HostState,
  HostWatch,
  type Position,
  PRIMARY_TIMELINE
} from '../lib/postgres-hosts.ts'

/** Remembers the highest timeline of each system, so that an old primary is recognized even after a restart. */
export interface TimelineFence {
  /** 0 for an unknown system. */
  highest(system: string): number
  /** Ignores timelines below the known one. */
  raise(system: string, timeline: number): void
  /** Records the position the primary had a moment ago; called about once a second. */
  saw?(state: Readonly<Pick<HostState, 'system' | 'timeline' | 'lsn'>>): void
  /** Learns what others have seen, within milliseconds, before a primary is chosen. Never rejects. */
  refresh?(): Promise<void>
}

export interface HostsSettings {
  /** The hosts, in order of preference where nothing else decides. */
  targets: readonly PostgresTarget[]
  /** The same hosts, bypassing any pooler. */
  directTargets: readonly PostgresTarget[]
  applicationName: string
  /** Seconds. */
  connectTimeout: number
  fence: TimelineFence
  /** Another host is the primary, or there is a primary again. Everything sent to other hosts must end at once. */
  onPrimary: (target: PostgresTarget, directTarget: PostgresTarget) => void
  /** No host accepts writes any more. */
  onNone: (reason: Error) => void
}

/** Milliseconds from one survey to the next: with a primary, and without. */
const INTERVAL = 1_000
const SEARCH_INTERVAL = 200
/** Milliseconds that a host has to answer. A connection that takes longer to open serves a later survey. */
const ANSWER_TIMEOUT = 700
/** Consecutive surveys that a primary may leave unanswered while its connections seem alive. */
const MISSES = 2
/** How long positions of the primary are kept, in milliseconds. */
const MARK_LIFE = 10_000

/** Columns that a new connection selects for {@link Hosts.admit}. */
export const ADMISSION_COLUMNS = `, ${PRIMARY_TIMELINE} as timeline,
  (select system_identifier::text from pg_control_system()) as system,
  pg_postmaster_start_time()::text as "startedAt"`

/** The primary's log position at a time, as `performance.now()`. */
export interface Mark extends Position {
  readonly at: number
}

interface Primary {
  readonly index: number
  readonly state: HostState
}

/**
 * Determines which of several hosts is the primary, by polling all of them over separate connections. A host is
 * accepted only while two consecutive surveys agree, and only on the highest timeline ever seen.
 * After a lost connection nothing is certain until the next survey: the host may come back as an old primary.
 */
export class Hosts {
  readonly #settings: HostsSettings
  #targets: readonly PostgresTarget[]
  #directTargets: readonly PostgresTarget[]
  readonly #watches: readonly HostWatch[]
  readonly #ending = new AbortController()
  #wake = new AbortController()
  readonly #running: Promise<void>
  #primary: Primary | undefined
  #isConfirmed = false
  #refusal: Error | undefined
  #suspicions = 0
  #misses = 0
  #next = Promise.withResolvers<void>()
  #marks: Mark[] = []

  constructor(settings: HostsSettings) {
    this.#settings = settings
    this.#targets = settings.targets
    this.#directTargets = settings.directTargets
    this.#watches = settings.targets.map(target => new HostWatch(target, settings))
    this.#running = this.#run()
  }

  /** Why there is no primary; undefined if there is one, or before the first survey. */
  get refusal(): Error | undefined {
    return this.#refusal
  }

  /** The primary's latest answer. */
  get primary(): HostState | undefined {
    return this.#refusal === undefined ? this.#primary?.state : undefined
  }

  /** Index of the latest primary; the first host before there was any. */
  get index(): number {
    return this.#primary?.index ?? 0
  }

  /** The host to write to now. Rejects at once while there is known to be none. */
  async locate(): Promise<{ target: PostgresTarget; directTarget: PostgresTarget }> {
    while (this.#refusal === undefined && !this.#isConfirmed) await this.#next.promise
    if (this.#refusal !== undefined) throw this.#refusal
    const { index } = this.#primary!
    return { target: this.#targets[index]!, directTarget: this.#directTargets[index]! }
  }

  /**
   * Checks that a new connection leads to the confirmed server: not to a standby, and not to a server restarted since,
   * when another one may have been promoted.
   * @throws Error if it does not
   */
  admit(found: Readonly<Record<string, unknown>>): void {
    const { state } = this.#primary ?? {}
    if (this.#isConfirmed && state?.system === found.system && state?.startedAt === found.startedAt) {
      if (Number(found.timeline) >= this.#settings.fence.highest(state!.system)) return
    }
    this.suspect()
    throw Object.assign(new Error('this host is not confirmed as the primary'), { code: 'CONNECTION_CLOSED' })
  }

  /** Reports a failure that a change of hosts would explain. */
  suspect(): void {
    if (!this.#isConfirmed) return
    this.#suspicions++
    this.#isConfirmed = false
    this.#wake.abort()
  }

  /** Another instance knows that a server was promoted: until it answers, nothing is written. */
  observeTimeline(timeline: number): void {
    const known = this.#primary?.state
    if (known === undefined || timeline <= known.timeline) return
    this.#settings.fence.raise(known.system, timeline)
    this.suspect()
  }

  /** The earliest known position of the primary that is at most `maxAge` milliseconds old. */
  markWithin(maxAge: number): Mark | undefined {
    const earliest = performance.now() - maxAge
    return this.#marks.find(({ at }) => at >= earliest)
  }

  /** The same hosts with other credentials. */
  retarget(targets: readonly PostgresTarget[], directTargets: readonly PostgresTarget[]): void {
    this.#targets = targets
    this.#directTargets = directTargets
    for (const [index, watch] of this.#watches.entries()) watch.retarget(targets[index]!)
  }

  async end(): Promise<void> {
    this.#ending.abort()
    this.#wake.abort()
    for (const watch of this.#watches) watch.close()
    this.#refusal ??= new Error('the server is stopping')
    this.#tell()
    await this.#running
  }

  async #run(): Promise<void> {
    const { signal } = this.#ending
    while (!signal.aborted) {
      this.#wake = new AbortController()
      const suspicions = this.#suspicions
      await this.#survey()
      if (signal.aborted || suspicions !== this.#suspicions) continue
      const pause = this.#refusal === undefined && this.#isConfirmed ? INTERVAL : SEARCH_INTERVAL
      await delay(pause, undefined, { signal: this.#wake.signal, ref: false }).catch(() => {})
    }
  }

  async #survey(): Promise<void> {
    const suspicions = this.#suspicions
    const reports = await this.#queryAll()
    const { primary, refusal } = this.#choose(reports)
    if (this.#ending.signal.aborted || suspicions !== this.#suspicions) return
    if (primary === undefined) return this.#miss(reports, refusal)
    if (this.#isConfirmed && primary.address === this.#watches[this.#primary!.index]!.address)
      return this.#take(primary)

    // One host may have answered just before its promotion, and the old primary just after its restart.
    const { primary: again } = this.#choose(await this.#queryAll())
    if (this.#ending.signal.aborted || suspicions !== this.#suspicions) return
    if (again !== undefined && again.address === primary.address) this.#take(again)
  }

  async #queryAll(): Promise<HostReport[]> {
    const refreshed = this.#settings.fence.refresh?.()
    const reports = await Promise.all(this.#watches.map(watch => watch.ask(ANSWER_TIMEOUT)))
    await refreshed
    return reports
  }

  #choose(reports: readonly HostReport[]) {
    return choosePrimary(reports, system => this.#settings.fence.highest(system))
  }

  #take({ address, state, askedAt: at }: HostReport & { state: HostState }): void {
    const index = this.#watches.findIndex(watch => watch.address === address)
    const isOther = this.#refusal !== undefined || this.#primary?.index !== index
    this.#settings.fence.raise(state.system, state.timeline)
    this.#settings.fence.saw?.(state)
    this.#misses = 0
    this.#refusal = undefined
    this.#primary = { index, state }
    this.#isConfirmed = true
    this.#marks = [...this.#marks.filter(mark => mark.at > at - MARK_LIFE), { ...state, at }]
    if (isOther) this.#settings.onPrimary(this.#targets[index]!, this.#directTargets[index]!)
    this.#tell()
  }

  #miss(reports: readonly HostReport[], refusal: string): void {
    this.#misses++
    const own = this.#primary && reports[this.#primary.index]
    // A busy host, or a busy process here, may miss one survey. A host that did answer is no longer the primary.
    const isSilent = own !== undefined && own.state === undefined
    if (isSilent && this.#isConfirmed && this.#misses < MISSES) return
    const isNews = this.#refusal === undefined
    const [first] = reports.filter(({ reason }) => reason !== undefined)
    this.#refusal = Object.assign(new Error(refusal, { cause: first?.reason }), { code: 'CONNECTION_CLOSED' })
    this.#isConfirmed = false
    if (isNews) this.#settings.onNone(this.#refusal)
    this.#tell()
  }

  #tell(): void {
    this.#next.resolve()
    this.#next = Promise.withResolvers()
  }
}

/** Remembers in this process only. */
export function memoryFence(): TimelineFence {
  const highest = new Map<string, number>()
  return {
    highest: system => highest.get(system) ?? 0,
    raise: (system, timeline) => void highest.set(system, Math.max(timeline, highest.get(system) ?? 0))
  }
}
