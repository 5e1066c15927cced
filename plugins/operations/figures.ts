import type { SampleRing, SampleTrack } from './memory.ts'
import type { Selection } from './port.ts'
import { type Samples, select } from './samples.ts'

/** The fraction of valid requests that may fail over the period of the budget. */
const ALLOWED = 0.005
const BUDGET_DAYS = 30
const DAY = 86_400

/** How fast the error budget burns: 1 spends exactly all of it in 30 days. */
export interface Burn {
  readonly window: string
  /** The part of the window that the samples cover. */
  readonly seconds: number
  readonly valid: number
  readonly errors: number
  /** Null when there were no valid requests. */
  readonly ratio: number | null
  readonly burn: number | null
}

export interface ClassFigures {
  readonly slo: string
  readonly good: number
  readonly slow: number
  readonly error: number
  readonly maintenance: number
  readonly limited: number
  readonly gone: number
}

/** The time that a timestamp metric reports; unknown if it is missing or 0. */
export interface ReportedTime {
  readonly known: boolean
  readonly at: string | null
  readonly ageSeconds: number | null
}

const WINDOWS = { '5m': 300, '30m': 1_800, '1h': 3_600, '6h': 21_600 } as const
const HOUR = 3_600
const OUTCOMES = ['good', 'slow', 'error', 'maintenance', 'limited', 'gone'] as const

const OBJECTIVES: Selection = { metric: 'rhone_slo_requests_total', by: ['slo', 'outcome'] }
const JOBS: Selection = { metric: 'rhone_jobs_total', by: ['queue', 'outcome'] }
const DEPLOYMENTS: Selection = { metric: 'rhone_deployments_total', by: ['status'] }
const CPU: Selection = { metric: 'process_cpu_seconds_total' }

const LEVELS = [
  'rhone_http_requests_in_flight',
  'rhone_concurrency_in_flight',
  'rhone_concurrency_limit',
  'rhone_pressure_level',
  'rhone_db_pool_connections',
  'rhone_jobs_waiting',
  'rhone_dependency_up',
  'rhone_memory_limit_bytes',
  'rhone_backup_last_success_timestamp_seconds',
  'rhone_backup_last_size_bytes',
  'rhone_restore_drill_last_success_timestamp_seconds',
  'process_resident_memory_bytes',
  'nodejs_heap_size_used_bytes',
  'nodejs_eventloop_lag_p99_seconds'
]

/** The metrics that figures are computed from. */
export const FIGURE_METRICS = [...LEVELS, ...[OBJECTIVES, JOBS, DEPLOYMENTS, CPU].map(({ metric }) => metric)]

/** Current figures, and those of the last hours, computed from the samples. */
export class Figures {
  readonly #memory: SampleRing
  readonly #objectives: SampleTrack
  readonly #jobs: SampleTrack
  readonly #deployments: SampleTrack
  readonly #cpu: SampleTrack

  constructor(memory: SampleRing) {
    this.#memory = memory
    this.#objectives = memory.track(OBJECTIVES)
    this.#jobs = memory.track(JOBS)
    this.#deployments = memory.track(DEPLOYMENTS)
    this.#cpu = memory.track(CPU)
  }

  burns(): Burn[] {
    return Object.entries(WINDOWS).map(([window, length]) => ({ window, ...this.#burn(length) }))
  }

  get objective() {
    return { target: 1 - ALLOWED, days: BUDGET_DAYS }
  }

  /** The share of the 30 days' budget that was spent within the samples, at that period's request rate. */
  spent(): number | null {
    const { burn, seconds } = this.#burn(WINDOWS['6h'])
    return burn === null ? null : Number(((burn * seconds) / (BUDGET_DAYS * DAY)).toPrecision(4))
  }

  /** By class, over the last hour. Probes have a class of their own. */
  classes(): ClassFigures[] {
    const counts = this.#growthOf(this.#objectives, HOUR)
    const names = [...new Set(counts.map(({ labels }) => labels.slo!))]
    return names.map(slo => {
      const own = counts.filter(({ labels }) => labels.slo === slo)
      const of = (outcome: string) => own.find(({ labels }) => labels.outcome === outcome)?.grown ?? 0
      return {
        slo,
        ...(Object.fromEntries(OUTCOMES.map(outcome => [outcome, of(outcome)])) as Omit<ClassFigures, 'slo'>)
      }
    })
  }

  jobs(latest: Samples) {
    const attempts = this.#growthOf(this.#jobs, HOUR)
    const waiting = select(latest, { metric: 'rhone_jobs_waiting', by: ['queue'], combine: 'max' })
    const queues = new Set([...waiting.keys(), ...attempts.map(({ labels }) => labels.queue!)])
    return [...queues].sort().map(queue => ({
      queue,
      waiting: waiting.get(queue)?.value ?? null,
      lastHour: Object.fromEntries(
        attempts.filter(({ labels }) => labels.queue === queue).map(({ labels, grown }) => [labels.outcome!, grown])
      )
    }))
  }

  /** By status, over the last hour, of this instance. */
  deployments(): Record<string, number> {
    return Object.fromEntries(
      this.#growthOf(this.#deployments, HOUR).map(({ labels, grown }) => [labels.status!, grown])
    )
  }

  load(latest: Samples) {
    return {
      inFlight: one(latest, 'rhone_http_requests_in_flight'),
      admitted: one(latest, 'rhone_concurrency_in_flight'),
      limit: one(latest, 'rhone_concurrency_limit'),
      pressure: one(latest, 'rhone_pressure_level'),
      eventLoopP99: one(latest, 'nodejs_eventloop_lag_p99_seconds'),
      cpu: this.#cpuNow(),
      rss: one(latest, 'process_resident_memory_bytes'),
      memoryLimit: one(latest, 'rhone_memory_limit_bytes'),
      heapUsed: one(latest, 'nodejs_heap_size_used_bytes')
    }
  }

  /** Cores in use, since the sample before. */
  #cpuNow(): number | null {
    const column = this.#cpu.columns.get('')
    if (column === undefined || this.#memory.length < 2) return null
    return Number((this.#memory.growth(column, 1, 0) / this.#memory.secondsBetween(1, 0)).toPrecision(4))
  }

  #burn(length: number): Omit<Burn, 'window'> {
    const counts = this.#growthOf(this.#objectives, length).filter(({ labels }) => labels.slo !== 'health')
    const sum = (...outcomes: string[]) =>
      counts.reduce((total, { labels, grown }) => (outcomes.includes(labels.outcome!) ? total + grown : total), 0)
    const [errors, valid] = [sum('error'), sum('good', 'slow', 'error')]
    const ratio = valid > 0 ? errors / valid : null
    const age = this.#memory.length === 0 ? 0 : this.#memory.ageBefore(0, length)
    const seconds = this.#memory.length === 0 ? 0 : Math.round(this.#memory.secondsBetween(age, 0))
    const burn = ratio === null ? null : Number((ratio / ALLOWED).toPrecision(4))
    return { seconds, valid, errors, ratio, burn }
  }

  #growthOf({ columns }: SampleTrack, seconds: number) {
    if (this.#memory.length === 0) return []
    const older = this.#memory.ageBefore(0, seconds)
    return [...columns.values()].map(column => ({
      labels: column.labels,
      grown: this.#memory.growth(column, older, 0) || 0
    }))
  }
}

export function pool(latest: Samples): Record<string, number> | null {
  const found = select(latest, { metric: 'rhone_db_pool_connections', by: ['state'] })
  return found.size === 0 ? null : Object.fromEntries([...found].map(([state, { value }]) => [state, value]))
}

export function dependencies(latest: Samples): Record<string, 'up' | 'down'> {
  const found = select(latest, { metric: 'rhone_dependency_up', by: ['service'], combine: 'min' })
  return Object.fromEntries([...found].map(([service, { value }]) => [service, value === 1 ? 'up' : 'down']))
}

/** An unknown age is null, never 0. */
export function backup(latest: Samples, now: number) {
  return {
    last: occasion(latest, 'rhone_backup_last_success_timestamp_seconds', now),
    sizeBytes: one(latest, 'rhone_backup_last_size_bytes') || null,
    drill: occasion(latest, 'rhone_restore_drill_last_success_timestamp_seconds', now)
  }
}

function occasion(latest: Samples, metric: string, now: number): ReportedTime {
  const seconds = select(latest, { metric, combine: 'max' }).get('')?.value
  if (!seconds || !Number.isFinite(seconds)) return { known: false, at: null, ageSeconds: null }
  return {
    known: true,
    at: new Date(seconds * 1_000).toISOString(),
    ageSeconds: Math.max(0, Math.round(now / 1_000 - seconds))
  }
}

function one(latest: Samples, metric: string): number | null {
  const value = select(latest, { metric, combine: 'max' }).get('')?.value
  return value === undefined || !Number.isFinite(value) ? null : value
}
