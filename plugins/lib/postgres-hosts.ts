import { addressOf, type PostgresTarget } from './postgres.ts'
import { ask, openSession, type Session } from './postgres-session.ts'

/** Where a server's write-ahead log is. Positions of different systems cannot be compared. */
export interface Position {
  /** Counts promotions: the server that was promoted last has the highest. */
  readonly timeline: number
  /** The log sequence number, in bytes. */
  readonly lsn: bigint
}

/** A host's latest description of itself. */
export interface HostState extends Position {
  readonly role: 'primary' | 'standby'
  /** The identifier that all copies of one database cluster share. */
  readonly system: string
  /** When PostgreSQL started there: distinguishes two servers that have everything else in common. */
  readonly startedAt: string
  /** Seconds since the last transaction that a standby has replayed; null on a primary, and before the first one. */
  readonly sinceReplay: number | null
  /** Whether a standby is connected to a server that sends it changes. */
  readonly isReceiving: boolean
}

export interface HostReport {
  readonly address: string
  readonly target: PostgresTarget
  /** Undefined if the host has not answered. */
  readonly state?: HostState
  /** Why it has not answered. */
  readonly reason?: unknown
  /** When the question was sent, as `performance.now()`. */
  readonly askedAt: number
}

/**
 * The timeline of a session's server as a number; 0 on a standby. The function that returns the timeline of a position
 * does not work on standbys, so the planner must not reach it there.
 */
export const PRIMARY_TIMELINE = `case when pg_is_in_recovery() then 0
  else ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint end`

/**
 * The timeline that a standby follows. Only roles with access to all statistics see what the standby receives; for
 * other roles this lags behind a promotion until the standby's next restart point, a few minutes at most, which is the
 * safe side.
 */
export const STANDBY_TIMELINE = `greatest(
  (select received_tli from pg_stat_get_wal_receiver()),
  (select timeline_id from pg_control_checkpoint()),
  (select min_recovery_end_timeline from pg_control_recovery()))`

const STATE = `select
  case when pg_is_in_recovery() then 'standby' else 'primary' end as role,
  (select system_identifier::text from pg_control_system()) as system,
  pg_postmaster_start_time()::text as "startedAt",
  case when pg_is_in_recovery() then ${STANDBY_TIMELINE} else ${PRIMARY_TIMELINE} end as timeline,
  (case when pg_is_in_recovery() then coalesce(pg_last_wal_replay_lsn(), '0/0') else pg_current_wal_flush_lsn() end
    - '0/0'::pg_lsn)::text as lsn,
  case when pg_is_in_recovery()
    then extract(epoch from clock_timestamp() - pg_last_xact_replay_timestamp())::float8 end as "sinceReplay",
  pg_is_in_recovery() and exists (
    select from pg_stat_get_wal_receiver() where pid is not null and coalesce(status, 'streaming') = 'streaming'
  ) as "isReceiving"`

interface Row extends Omit<HostState, 'timeline' | 'lsn'> {
  readonly timeline: string
  readonly lsn: string
}

export interface HostWatchSettings {
  readonly applicationName: string
  /** Seconds that connecting may take; it continues in the background after the question has timed out. */
  readonly connectTimeout: number
}

/** Queries one host's state repeatedly over one session. */
export class HostWatch {
  readonly #settings: HostWatchSettings
  #target: PostgresTarget
  #session: Session | undefined
  /** Resolves to the session once it has connected. */
  #connected: Promise<Session> | undefined

  constructor(target: PostgresTarget, settings: HostWatchSettings) {
    this.#target = target
    this.#settings = settings
  }

  get address(): string {
    return addressOf(this.#target)
  }

  retarget(target: PostgresTarget): void {
    this.#target = target
    this.close()
  }

  /** Never rejects. A host that has not answered within `timeoutMs` gets a fresh connection for the next question. */
  async ask(timeoutMs: number): Promise<HostReport> {
    const askedAt = performance.now()
    const report = { address: this.address, target: this.#target, askedAt }
    try {
      this.#connected ??= this.#connect()
      const session = await within(timeoutMs, this.#connected)
      const rest = Math.max(1, timeoutMs - (performance.now() - askedAt))
      const [row] = (await ask(session, STATE, rest)) as Row[]
      return { ...report, state: { ...row!, timeline: Number(row!.timeline), lsn: BigInt(row!.lsn) } }
    } catch (reason) {
      if (this.#session === undefined) this.#connected = undefined
      return { ...report, reason }
    }
  }

  close(): void {
    this.#session?.destroy()
    this.#session = undefined
    this.#connected = undefined
  }

  async #connect(): Promise<Session> {
    const { applicationName, connectTimeout } = this.#settings
    const session = openSession(this.#target, {
      applicationName: `${applicationName}-hosts`,
      connectTimeout,
      prepare: false,
      onClose: () => this.#forget(session)
    })
    this.#session = session
    try {
      await ask(session, 'select 1', connectTimeout * 1_000)
      return session
    } catch (error) {
      this.#forget(session)
      session.destroy()
      throw error
    }
  }

  #forget(session: Session): void {
    if (this.#session !== session) return
    this.#session = undefined
    this.#connected = undefined
  }
}

/** The host that accepts writes, or why there is none. */
export type Choice =
  | { readonly primary: HostReport & { readonly state: HostState }; readonly refusal?: undefined }
  | { readonly primary?: undefined; readonly refusal: string }

/**
 * Chooses the primary among hosts. A server on a timeline below the highest one ever seen is an old primary: the others
 * would never get its changes. Two primaries on the same timeline are both refused, because there is no telling which
 * of them the others follow.
 *
 * @param highest the highest timeline seen so far of a system, 0 if none
 */
export function choosePrimary(reports: readonly HostReport[], highest: (system: string) => number): Choice {
  const answering = reports.filter(isPrimary)
  const current = answering.filter(({ state }) =>
    reports.every(({ state: other }) => other?.system !== state.system || other.timeline <= state.timeline)
  )
  const fenced = (report: Answer) => report.state.timeline < highest(report.state.system)
  const [primary, ...others] = current.filter(report => !fenced(report))
  if (primary === undefined) return { refusal: whyNone(reports, answering) }
  const rival = others.find(({ state }) => !isSameServer(state, primary.state))
  if (rival === undefined) return { primary }
  return { refusal: `both ${primary.address} and ${rival.address} accept writes: stop the one that should not be used` }
}

type Answer = HostReport & { readonly state: HostState }

const isPrimary = (report: HostReport): report is Answer => report.state?.role === 'primary'

const isSameServer = (left: HostState, right: HostState) =>
  left.system === right.system && left.startedAt === right.startedAt

function whyNone(reports: readonly HostReport[], old: readonly Answer[]): string {
  if (old.length > 0)
    return `${old.map(({ address }) => address).join(' and ')} was replaced by a promotion, but the new primary does not answer`
  const standbys = reports.filter(({ state }) => state !== undefined).map(({ address }) => address)
  if (standbys.length > 0) return `no host accepts writes; ${standbys.join(' and ')} is a standby`
  return `none of ${reports.map(({ address }) => address).join(', ')} answers`
}

/** Rejects if the work takes longer, but does not stop it. */
function within<T>(timeoutMs: number, work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const deadline = setTimeout(
      () => reject(Object.assign(new Error(`no answer within ${timeoutMs} ms`), { code: 'CONNECT_TIMEOUT' })),
      timeoutMs
    )
    work.then(resolve, reject).finally(() => clearTimeout(deadline))
  })
}

/** Queries all hosts once, concurrently, each with its own time limit. */
export async function surveyHosts(
  targets: readonly PostgresTarget[],
  settings: HostWatchSettings & { readonly timeoutMs: number }
): Promise<HostReport[]> {
  const watches = targets.map(target => new HostWatch(target, settings))
  try {
    return await Promise.all(watches.map(watch => watch.ask(settings.timeoutMs)))
  } finally {
    for (const watch of watches) watch.close()
  }
}
