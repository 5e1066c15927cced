import type { FastifyBaseLogger } from 'fastify'
import {
  changedState,
  endOf,
  type MaintenanceChange,
  type MaintenanceState,
  type MaintenanceStore,
  openState,
  type RecordChange,
  stateAt
} from './state.ts'

export interface KeeperSettings {
  readonly store: MaintenanceStore
  /** Milliseconds between two reads of the store, and after a failed one. */
  readonly pollInterval: number
  readonly retryInterval: number
  readonly log: FastifyBaseLogger
  readonly onChange: (state: MaintenanceState) => void
  readonly recordReopening: RecordChange
}

export interface Keeper {
  readonly state: MaintenanceState
  set(change: MaintenanceChange, by: string | null, record?: RecordChange): Promise<MaintenanceState>
  /** Reads the store now. */
  refresh(): Promise<MaintenanceState>
  /** Like `refresh`, but a failed read is not an error: the last known state remains in effect. */
  check(): Promise<void>
  /** Reopens if the time for it has come. */
  expire(): void
  stop(): Promise<void>
}

/** Holds this instance's view of the state and keeps it current through store notifications, polling and the clock. */
export function createKeeper(settings: KeeperSettings): Keeper {
  const { store, pollInterval, retryInterval, log, onChange, recordReopening } = settings
  const reading = streak(error => log.warn({ err: error }, 'maintenance: continuing with the last known state'))
  const listening = streak(error => log.warn({ err: error }, 'maintenance: changes arrive by polling only'))
  let state = openState(null)
  /** Number of reads begun, and the latest one whose answer counts. */
  let readings = 0
  let latest = 0
  let timer: NodeJS.Timeout | undefined
  let isSubscribing = false
  let unsubscribe: (() => Promise<void>) | undefined
  let isStopped = false

  /** Adopts a state as it stands at the current time. */
  function adopt(found: MaintenanceState): void {
    const current = stateAt(found, Date.now())
    if (current !== found) writeReopening()
    if (current !== state) {
      state = current
      onChange(current)
    }
    plan()
  }

  function plan(): void {
    clearTimeout(timer)
    if (isStopped) return
    const rest = reading.isFailing ? retryInterval : pollInterval
    const untilEnd = state.enabled ? endOf(state) - Date.now() : rest
    timer = setTimeout(tick, Math.max(0, Math.min(rest, untilEnd))).unref()
  }

  function tick(): void {
    expire()
    check()
  }

  function expire(): void {
    adopt(state)
  }

  async function refresh(): Promise<MaintenanceState> {
    const mine = ++readings
    const found = await store.load()
    // A read that began later has already answered.
    if (mine > latest) {
      latest = mine
      adopt(found)
    }
    return state
  }

  async function check(): Promise<void> {
    subscribe()
    await reading.watch(refresh())
    plan()
  }

  function subscribe(): void {
    if (isSubscribing || unsubscribe !== undefined || isStopped) return
    isSubscribing = true
    listening.watch(store.subscribe(check)).then(async stopListening => {
      isSubscribing = false
      if (isStopped) await stopListening?.()
      else unsubscribe = stopListening
    })
  }

  /** Every instance reopens by its own clock; the first to succeed records it. */
  function writeReopening(): void {
    store
      .update(current => stateAt(current, Date.now()), recordReopening)
      .catch(error => log.warn({ err: error }, 'maintenance: the reopening could not be recorded; it is retried'))
  }

  return {
    get state() {
      return stateAt(state, Date.now())
    },
    async set(change, by, record) {
      const saved = await store.update(current => changedState(current, change, by, Date.now()), record)
      latest = readings
      adopt(saved)
      // Another instance's change may have arrived while this one was in flight.
      check()
      return saved
    },
    refresh,
    check,
    expire,
    async stop() {
      isStopped = true
      clearTimeout(timer)
      await unsubscribe?.()
    }
  }
}

/** Tracks repeated attempts and reports only the first failure in a row. */
function streak(onFirstFailure: (error: unknown) => void) {
  let isFailing = false
  return {
    get isFailing() {
      return isFailing
    },
    async watch<Result>(attempt: Promise<Result>): Promise<Result | undefined> {
      try {
        const result = await attempt
        isFailing = false
        return result
      } catch (error) {
        if (!isFailing) onFirstFailure(error)
        isFailing = true
      }
    }
  }
}
