import type { Db } from '../lib/own-types.ts'

/** Whether the platform is closed, and what visitors are told. Instants are ISO 8601, in UTC. */
export interface MaintenanceState {
  readonly enabled: boolean
  readonly message: string | null
  /** Retry-After in seconds while no end is known. */
  readonly retryAfter: number
  /** When it reopens automatically. */
  readonly until: string | null
  /** When it was closed. */
  readonly since: string | null
  /** Who last changed it. */
  readonly by: string | null
}

/** An operator's request. Omitted fields keep their value while closed, and take the default for a new closure. */
export interface MaintenanceChange {
  readonly enabled: boolean
  readonly message?: string | null
  readonly retryAfter?: number
  readonly until?: string | null
}

/** Records a change in the transaction that makes it; null if the store has none. */
export type RecordChange = (tx: Db | null, before: MaintenanceState, after: MaintenanceState) => Promise<void>

/** Where the state is stored, for all instances. */
export interface MaintenanceStore {
  load(): Promise<MaintenanceState>
  /**
   * Replaces the state with the result of `decide`, with no concurrent change in between. If the result is the same
   * object, nothing is changed or recorded.
   */
  update(decide: (current: MaintenanceState) => MaintenanceState, record?: RecordChange): Promise<MaintenanceState>
  /** Calls back whenever the state may have changed elsewhere, until the returned function is called. */
  subscribe(onChange: () => void): Promise<() => Promise<void>>
}

export const DEFAULT_RETRY_AFTER = 300

/** The actor for a reopening at a scheduled time. */
export const SCHEDULE = 'maintenance schedule'

export function openState(by: string | null): MaintenanceState {
  return { enabled: false, message: null, retryAfter: DEFAULT_RETRY_AFTER, until: null, since: null, by }
}

/** The end of a closure in milliseconds since 1970: 0 while open, Infinity if none is set. */
export function endOf({ enabled, until }: MaintenanceState): number {
  if (!enabled) return 0
  return until === null ? Number.POSITIVE_INFINITY : Date.parse(until)
}

export function isClosedAt(state: MaintenanceState, now: number): boolean {
  return now < endOf(state)
}

/** The current state: open if the scheduled end has passed. */
export function stateAt(state: MaintenanceState, now: number): MaintenanceState {
  return state.enabled && !isClosedAt(state, now) ? openState(SCHEDULE) : state
}

/** The state after a change. Returns `current` itself if it already matches the request. */
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

/** The audit log entry for a change. */
export function changeEvent(before: MaintenanceState, after: MaintenanceState) {
  const { message, retryAfter, until } = after
  const action = after.enabled ? (before.enabled ? 'update' : 'close') : 'reopen'
  return { type: 'admin', action, resource: 'maintenance', details: { message, retryAfter, until } } as const
}
