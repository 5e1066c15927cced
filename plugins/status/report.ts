import { type History, lastDays } from './history.ts'
import { COUNTED_STATES, type Incident, type Observation, type Severity, type Status } from './port.ts'

/** The current closure. */
export interface PlannedMaintenance {
  readonly message: string | null
  readonly since: string | null
  readonly until: string | null
}

export interface DayReport {
  /** YYYY-MM-DD, UTC. */
  readonly date: string
  /** The worst state that lasted a minute in all; `unknown` if nothing was observed. */
  readonly status: Status
  /** The fraction of the observed time, excluding maintenance, without an outage; null if nothing was observed. */
  readonly uptime: number | null
}

export interface ComponentReport {
  readonly name: string
  readonly title: string
  readonly status: Status
  readonly note: string | null
  /** Over all days of the history. */
  readonly uptime: number | null
  /** Oldest first. */
  readonly days: DayReport[]
}

export interface StatusReport {
  readonly status: Status
  /** The status as a sentence. */
  readonly summary: string
  /** When the components were last observed; null before the first time. */
  readonly checkedAt: string | null
  readonly components: ComponentReport[]
  readonly maintenance: PlannedMaintenance | null
  /** Open ones first, then the latest. */
  readonly incidents: Incident[]
}

/** Minimum seconds per day for a state to colour the day. */
const NOTABLE = 60

const SUMMARIES: Readonly<Record<Status, string>> = {
  operational: 'All systems operational.',
  maintenance: 'Closed for planned maintenance.',
  degraded: 'Some systems are degraded.',
  outage: 'There is an outage.',
  unknown: 'No observations yet.'
}

/** The status that an open incident gives the components it names. */
const BY_SEVERITY: Readonly<Record<Severity, Status>> = {
  critical: 'outage',
  high: 'degraded',
  medium: 'degraded',
  low: 'operational'
}

const RANK: readonly Status[] = ['unknown', 'operational', 'maintenance', 'degraded', 'outage']

export function worst(statuses: readonly Status[]): Status {
  return statuses.reduce((found, status) => (RANK.indexOf(status) > RANK.indexOf(found) ? status : found), 'unknown')
}

/**
 * The status of a component: maintenance overrides everything; otherwise the worse of the observation and the
 * incidents.
 */
export function effective(
  name: string,
  seen: Observation,
  incidents: readonly Incident[],
  isClosed: boolean
): { status: Status; note: string | null } {
  if (isClosed) return { status: 'maintenance', note: null }
  const concerning = incidents.filter(({ closedAt, components }) => closedAt === null && components.includes(name))
  const said = worst(concerning.map(({ severity }) => BY_SEVERITY[severity]))
  const status = worst([seen.status, said])
  const note = status === seen.status ? (seen.note ?? null) : null
  return { status, note: note ?? concerning.find(({ severity }) => BY_SEVERITY[severity] === status)?.title ?? null }
}

/** The status of the whole service: an open incident counts even if it names no component. */
export function overall(components: readonly Status[], incidents: readonly Incident[], isClosed: boolean): Status {
  if (isClosed) return 'maintenance'
  const open = incidents.filter(({ closedAt }) => closedAt === null)
  return worst([...components, ...open.map(({ severity }) => BY_SEVERITY[severity])])
}

export const summaryOf = (status: Status): string => SUMMARIES[status]

/** The days of one component, and its uptime over all of them. */
export function daysOf(
  history: History,
  component: string,
  count: number,
  now: number
): Pick<ComponentReport, 'days' | 'uptime'> {
  let [up, total] = [0, 0]
  const days = lastDays(count, now).map(date => {
    const seconds = history.secondsOf(date, component)
    const valid = seconds.operational + seconds.degraded + seconds.outage
    up += valid - seconds.outage
    total += valid
    const notable = COUNTED_STATES.filter(status => seconds[status] >= NOTABLE)
    const most = COUNTED_STATES.toSorted((a, b) => seconds[b] - seconds[a])[0]!
    const status = notable.length > 0 ? worst(notable) : seconds[most] > 0 ? most : 'unknown'
    return { date, status, uptime: shareOf(valid - seconds.outage, valid) }
  })
  return { days, uptime: shareOf(up, total) }
}

/** Rounded down, so that 1 means no outage at all. */
function shareOf(part: number, total: number): number | null {
  return total === 0 ? null : Math.floor((part / total) * 1e5) / 1e5
}
