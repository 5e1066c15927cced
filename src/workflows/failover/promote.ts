import { setTimeout as delay } from 'node:timers/promises'
import { isUnreachable, type PostgresTarget, sqlState } from '../../../plugins/lib/postgres.ts'
import { type HostReport, type HostState, surveyHosts } from '../../../plugins/lib/postgres-hosts.ts'
import { ask, openSession } from '../../../plugins/lib/postgres-session.ts'

/** Where the highest timelines are remembered. */
interface Fence {
  highest(system: string): number
  raise(system: string, timeline: number): void
}

export interface FailoverSettings {
  /** `host:port` of the standby to promote; by default the one with most changes. */
  readonly to?: string | undefined
  /** Seconds by which the standby may be behind the primary as it was last seen; infinite: by any, also if unknown. */
  readonly maxLag: number
  /** Where the primary was when it was last seen, and when, in milliseconds since 1970; null if nobody knows. */
  readonly seen: {
    readonly system: string
    readonly timeline: number
    readonly lsn: bigint
    readonly at: number
  } | null
  readonly fence: Fence
}

export interface HostRow {
  readonly address: string
  readonly role: 'primary' | 'standby' | 'old primary' | 'no answer'
  readonly timeline: number | null
  /** In PostgreSQL's notation, `0/3000148`. */
  readonly position: string | null
  /** Seconds since the last change that the standby has received. */
  readonly lastChange: number | null
  readonly problem: string | null
}

/** What a failover would do; `refusal` says why it would do nothing. */
export interface FailoverPlan {
  readonly hosts: readonly HostRow[]
  readonly candidate?: string
  /** Seconds of changes that the candidate lacks, as far as anybody knows; null: nobody knows. */
  readonly lag?: number | null
  readonly refusal?: string
  readonly standby?: Standby
}

export interface Promotion {
  readonly promoted: string
  readonly timeline: number
  /** Seconds from the call until the server accepted writes. */
  readonly seconds: number
  /** Remaining steps for the operator, as sentences. */
  readonly next: readonly string[]
}

type Standby = HostReport & { readonly state: HostState }

const SESSION = { applicationName: 'rhone-failover', connectTimeout: 5 }
/** Milliseconds for a host to answer. */
const ANSWER_TIMEOUT = 5_000
/** Seconds for a standby to end its recovery. */
const PROMOTION_TIMEOUT = 60
const PAUSE = 100

/** Asks all hosts, and decides by {@link planFrom}. */
export async function planFailover(
  targets: readonly PostgresTarget[],
  settings: FailoverSettings
): Promise<FailoverPlan> {
  return planFrom(await surveyHosts(targets, { ...SESSION, timeoutMs: ANSWER_TIMEOUT }), settings)
}

/**
 * Decides which standby to promote. Refuses while a primary answers, and also while one may be there: a host that
 * accepts connections without an answer is not gone.
 */
export function planFrom(reports: readonly HostReport[], { to, maxLag, seen, fence }: FailoverSettings): FailoverPlan {
  const isOld = ({ state }: HostReport) =>
    state?.role === 'primary' &&
    (state.timeline < fence.highest(state.system) ||
      reports.some(other => other.state?.system === state.system && other.state.timeline > state.timeline))
  const hosts = reports.map(report => rowOf(report, isOld(report)))
  const refuse = (refusal: string, candidate?: string): FailoverPlan => ({
    hosts,
    refusal,
    ...(candidate !== undefined && { candidate })
  })

  const primary = reports.find(report => report.state?.role === 'primary' && !isOld(report))
  if (primary !== undefined)
    return refuse(`${primary.address} answers as the primary: stop PostgreSQL there first, and keep it stopped`)
  const old = reports.find(isOld)
  if (old !== undefined)
    return refuse(`${old.address} answers as an old primary: stop PostgreSQL there first, and keep it stopped`)
  const unclear = reports.find(({ state, reason }) => state === undefined && !isDown(reason))
  if (unclear !== undefined)
    return refuse(
      `${unclear.address} is running but does not answer (${messageOf(unclear.reason)}): make sure that it is stopped`
    )

  const standbys = reports
    .filter((report): report is Standby => report.state?.role === 'standby')
    .sort((left, right) => compare(right.state, left.state))
  const [best] = standbys
  if (best === undefined) return refuse('no standby answers: restore a backup, see docs/RECOVERY.md')
  const stranger = standbys.find(({ state }) => state.system !== best.state.system)
  if (stranger !== undefined)
    return refuse(`${best.address} and ${stranger.address} are copies of different databases: DATABASE_URL is wrong`)
  if (to !== undefined && !reports.some(({ address }) => address === to))
    return refuse(`${to} is not one of the hosts: ${reports.map(({ address }) => address).join(', ')}`)
  const standby = to === undefined ? best : standbys.find(({ address }) => address === to)
  if (standby === undefined) return refuse(`${to} does not answer as a standby`)
  if (compare(best.state, standby.state) > 0)
    return refuse(`${best.address} has changes that ${standby.address} lacks: promote that one`, standby.address)
  if (standby.state.isReceiving)
    return refuse(
      `${standby.address} still receives changes, so its primary is still running: stop that first`,
      standby.address
    )
  const { lag, lacks } = lagOf(standby.state, seen, fence)
  const { address } = standby
  if (lacks !== undefined && maxLag !== Number.POSITIVE_INFINITY)
    return refuse(`${address} ${lacks}; to accept the loss, use --max-lag any`, address)
  if (lag !== null && lag > maxLag)
    return refuse(
      `${address} lacks the last ${Math.round(lag)} s of changes, more than ${maxLag} s; to accept the loss, raise --max-lag`,
      address
    )
  return { hosts, candidate: address, lag, standby }
}

interface Lag {
  /** Seconds; null if nobody knows. */
  readonly lag: number | null
  /** What the standby lacks for certain, though nobody knows how many seconds that is. */
  readonly lacks?: string
}

function lagOf({ system, timeline, lsn, sinceReplay }: HostState, seen: FailoverSettings['seen'], fence: Fence): Lag {
  // Positions are comparable on one timeline only.
  const latest = Math.max(fence.highest(system), seen?.system === system ? seen.timeline : 0)
  if (timeline < latest)
    return {
      lag: null,
      lacks: `is on timeline ${timeline}, and may lack all changes since the promotion to timeline ${latest}`
    }
  if (seen === null || seen.system !== system) return { lag: null }
  if (timeline > seen.timeline || lsn >= seen.lsn) return { lag: 0 }
  if (sinceReplay !== null) return { lag: Math.max(0, sinceReplay - (Date.now() - seen.at) / 1_000) }
  return { lag: null, lacks: 'lacks changes, and has replayed none since its start, so the loss is unknown' }
}

/**
 * Promotes the plan's standby, and waits until it accepts writes on its new timeline.
 * @throws Error if the role may not promote, or the server does not end its recovery in time
 */
export async function promote({ standby }: FailoverPlan, fence: Fence): Promise<Promotion> {
  const { target, address, state } = standby!
  const startedAt = performance.now()
  const session = openSession(target, { ...SESSION, prepare: false })
  try {
    await ask(session, `select pg_promote(true, ${PROMOTION_TIMEOUT})`, (PROMOTION_TIMEOUT + 5) * 1_000)
  } catch (error) {
    if (sqlState(error) !== INSUFFICIENT_PRIVILEGE) throw error
    throw new Error(
      `the role ${target.username} may not promote: GRANT EXECUTE ON FUNCTION pg_promote TO ${target.username} beforehand, set DATABASE_ADMIN_URL to a superuser, or run "pg_ctl promote" on ${address}`
    )
  } finally {
    session.destroy()
  }
  const timeline = await writableTimeline(target, state, startedAt + PROMOTION_TIMEOUT * 1_000)
  fence.raise(state.system, timeline)
  return {
    promoted: address,
    timeline,
    seconds: (performance.now() - startedAt) / 1_000,
    next: [
      `Servers whose DATABASE_URL includes ${address} switch to it automatically: check GET /ready.`,
      `Never start the old primary as it is: make it a standby of ${address} with pg_rewind or a new base backup.`,
      `Point the other standbys at ${address}: primary_conninfo, then pg_reload_conf().`,
      'On Fly, set PRIMARY_REGION to the region of the new primary; elsewhere, PRIMARY_URL.',
      'Create a backup now: rhone backup create.'
    ]
  }
}

const INSUFFICIENT_PRIVILEGE = '42501'

async function writableTimeline(target: PostgresTarget, before: HostState, until: number): Promise<number> {
  for (;;) {
    const [report] = await surveyHosts([target], { ...SESSION, timeoutMs: ANSWER_TIMEOUT })
    const { state } = report!
    if (state?.role === 'primary' && state.timeline > before.timeline) return state.timeline
    if (performance.now() > until) throw new Error(`${report!.address} does not accept writes; see its log`)
    await delay(PAUSE)
  }
}

/** Nothing listens there, or there is no route to it. A timeout proves neither. */
function isDown(reason: unknown): boolean {
  const code = (reason as NodeJS.ErrnoException | undefined)?.code
  return code !== 'CONNECT_TIMEOUT' && isUnreachable(reason)
}

/** Positive if `left` has more. */
function compare(left: HostState, right: HostState): number {
  if (left.timeline !== right.timeline) return left.timeline - right.timeline
  return left.lsn === right.lsn ? 0 : left.lsn > right.lsn ? 1 : -1
}

function rowOf({ address, state, reason }: HostReport, isOld: boolean): HostRow {
  if (state === undefined)
    return { address, role: 'no answer', timeline: null, position: null, lastChange: null, problem: messageOf(reason) }
  const { timeline, lsn, sinceReplay } = state
  const position = `${(lsn >> 32n).toString(16).toUpperCase()}/${(lsn & 0xffffffffn).toString(16).toUpperCase()}`
  return {
    address,
    role: isOld ? 'old primary' : state.role,
    timeline,
    position,
    lastChange: sinceReplay,
    problem: null
  }
}

const messageOf = (reason: unknown) =>
  reason instanceof Error ? reason.message || String(reason.cause) : String(reason)
