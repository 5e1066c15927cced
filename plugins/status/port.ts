/** The state of a component: `unknown` before the first observation, and while nothing can be said about it. */
export const STATUSES = ['operational', 'maintenance', 'degraded', 'outage', 'unknown'] as const
export type Status = (typeof STATUSES)[number]

/** An observation of a component. */
export interface Observation {
  readonly status: Exclude<Status, 'maintenance'>
  /** What users notice, in a sentence. */
  readonly note?: string
}

/** A part of the service as its users see it. */
export interface Component {
  /** A word that incidents name it by. */
  readonly name: string
  readonly title: string
  /** Called once per sample; answers from memory, at once. */
  readonly check: () => Observation
}

/** How many seconds of a UTC day a component was observed in each state, over all instances. */
export interface StatusDay {
  /** YYYY-MM-DD */
  readonly day: string
  readonly component: string
  readonly operational: number
  readonly degraded: number
  readonly outage: number
  readonly maintenance: number
}
export const COUNTED_STATES = ['operational', 'degraded', 'outage', 'maintenance'] as const
export type CountedState = (typeof COUNTED_STATES)[number]

export const SEVERITIES = ['critical', 'high', 'medium', 'low'] as const
export type Severity = (typeof SEVERITIES)[number]

/** An incident that concerns users, as operators describe it. Instants are ISO 8601, in UTC. */
export interface Incident {
  readonly id: string
  readonly title: string
  readonly severity: Severity
  /** The names of the components concerned. */
  readonly components: string[]
  readonly openedAt: string
  readonly closedAt: string | null
  /** The latest first. */
  readonly updates: { readonly at: string; readonly message: string }[]
}

/** Where the history and the incidents are stored, for all instances. */
export interface StatusStore {
  /** Adds observed seconds: all of them, or none if it fails. */
  add(days: readonly StatusDay[]): Promise<void>
  /** The history from this day on, the open incidents, and those closed since. */
  load(since: string): Promise<{ readonly days: readonly StatusDay[]; readonly incidents: readonly Incident[] }>
  /** Calls back whenever the incidents may have changed, until the returned function is called. */
  subscribe(onChange: () => void): Promise<() => Promise<void>>
}
