import type { Db } from '../lib/own-types.ts'

/** Whether the platform is closed, and what those who come are told. Instants are ISO 8601, in UTC. */
export interface MaintenanceState {
  readonly enabled: boolean
  readonly message: string | null
  /** Seconds after which to come back, as long as no end is known. */
  readonly retryAfter: number
  /** When it reopens by itself. */
  readonly until: string | null
  /** When it was closed. */
  readonly since: string | null
  /** Who changed it last. */
  readonly by: string | null
}

/** What an operator asks for. What it does not name stays as it is while closed, and is the default of a new closure. */
export interface MaintenanceChange {
  readonly enabled: boolean
  readonly message?: string | null
  readonly retryAfter?: number
  readonly until?: string | null
}

/** Records a change in the transaction that makes it; null where the store has none. */
export type RecordChange = (tx: Db | null, before: MaintenanceState, after: MaintenanceState) => Promise<void>

/** Where the state is kept, for all instances. */
export interface MaintenanceStore {
  load(): Promise<MaintenanceState>
  /**
   * Replaces the state by what `decide` makes of it; nobody else changes it in between. When that is the same object,
   * nothing is changed and nothing recorded.
   */
  update(decide: (current: MaintenanceState) => MaintenanceState, record?: RecordChange): Promise<MaintenanceState>
  /** Calls back whenever the state may have changed elsewhere, until the returned function is called. */
  subscribe(onChange: () => void): Promise<() => Promise<void>>
}

export const DEFAULT_RETRY_AFTER = 300

/** Who reopens at the time that an operator has set. */
export const SCHEDULE = 'maintenance schedule'

export function openState(by: string | null): MaintenanceState {
  return { enabled: false, message: null, retryAfter: DEFAULT_RETRY_AFTER, until: null, since: null, by }
}

/** The end of a closure in milliseconds since 1970: 0 while open, Infinity when nobody has set one. */
export function endOf({ enabled, until }: MaintenanceState): number {
  if (!enabled) return 0
  return until === null ? Number.POSITIVE_INFINITY : Date.parse(until)
}

export function isClosedAt(state: MaintenanceState, now: number): boolean {
  return now < endOf(state)
}

/** The state after its time: open, once the end that was set has come. */
export function stateAt(state: MaintenanceState, now: number): MaintenanceState {
  return state.enabled && !isClosedAt(state, now) ? openState(SCHEDULE) : state
}

/** The state that a change leads to. It is `current` itself when that is what was asked for. */
export function changedState(
  current: MaintenanceState,
  change: MaintenanceChange,
  by: string | null,
  now: number
): MaintenanceState {
  const next = change.enabled ? closedState(current, change, by, now) : openState(by)
  const isSame =
    next.enabled === current.enabled &&
    next.message === current.message &&
    next.retryAfter === current.retryAfter &&
    next.until === current.until
  return isSame ? current : next
}

function closedState(
  current: MaintenanceState,
  change: MaintenanceChange,
  by: string | null,
  now: number
): MaintenanceState {
  const isClosed = isClosedAt(current, now)
  const { message, retryAfter, until, since } = isClosed ? current : openState(null)
  return {
    enabled: true,
    message: change.message === undefined ? message : change.message || null,
    retryAfter: change.retryAfter ?? retryAfter,
    until: change.until === undefined ? until : change.until && new Date(change.until).toISOString(),
    since: isClosed ? since : new Date(now).toISOString(),
    by
  }
}

/** What the audit log says of a change. */
export function changeEvent(before: MaintenanceState, after: MaintenanceState) {
  const { message, retryAfter, until } = after
  const action = after.enabled ? (before.enabled ? 'update' : 'close') : 'reopen'
  return { type: 'admin', action, resource: 'maintenance', details: { message, retryAfter, until } } as const
}
