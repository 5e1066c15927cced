import type { AppMetrics, DeployedApp, Running, RuntimeLine } from '../port.ts'

/**
 * The protocol between Rhone and the runner: JSON over HTTP on a Unix socket. The runner outlives upgrades of Rhone, so
 * under this prefix changes may only add; a change that an older runner would misunderstand needs the next number. `GET
 * /` and `POST /stop` are outside of the prefix and stay valid forever.
 */
export const PROTOCOL = '/v1'

/** The runner's only argument, as JSON. */
export interface RunnerSettings {
  readonly dataDir: string
  /** The port to serve apps on; 0 picks one. */
  readonly port: number
  /** Milliseconds without apps or requests after which the runner ends. */
  readonly idle: number
  /** If this directory disappears, the runner ends with all its apps and removes its own directory. */
  readonly anchor?: string | undefined
}

/** The port that serves apps, as the runner has recorded it. */
export interface PortRecord {
  /** The requested port. */
  readonly configured: number
  readonly port: number
}

/** `GET /`. */
export interface RunnerInfo {
  readonly pid: number
  /** Unique to each runner: line numbers count from its start. */
  readonly id: string
}

export interface Limits {
  /** Megabytes for all processes of a release together. */
  readonly memory: number
  /** Megabytes and files in an app's home; absent when an earlier Rhone asks, which has no such limit. */
  readonly disk?: number
  readonly files?: number
  /** Processes and threads per app user. */
  readonly processes: number
  /** Milliseconds for a release to become healthy. */
  readonly healthGrace: number
  /** Milliseconds from SIGTERM to SIGKILL. */
  readonly stopGrace: number
}

/** `POST /v1/start`: answers once the release is healthy, or with 422 if it fails to become so. */
export interface StartRequest {
  readonly app: AppName
  readonly deploymentId: string
  readonly image: string
  readonly region: string
  readonly env: Readonly<Record<string, string>>
  /** The path of the health check; absent: `/health`, or `/` if that does not exist. */
  readonly healthPath?: string
  /** The app's PATH, unless the app sets its own. */
  readonly path: string
  readonly limits: Limits
}

export type AppName = Pick<DeployedApp, 'id' | 'slug'>

/** `POST /v1/serve`: answers with 409 when the release is not running. */
export interface ServeRequest {
  readonly app: AppName
  readonly deploymentId: string
}

/** `POST /v1/retire`. */
export interface RetireRequest {
  readonly appId: string
  readonly keep: string | null
  /** Milliseconds for requests in progress to finish. */
  readonly drain: number
}

/** `POST /v1/destroy`. */
export interface DestroyRequest {
  readonly appId: string
}

/** `GET /v1/running`. */
export type RunningReply = readonly Omit<Running, 'flyAppId'>[]

/** `GET /v1/metrics?app=`. */
export type MetricsReply = AppMetrics

/** `GET /v1/logs?app=&runner=&after=&since=`: an endless stream, one entry per line. An empty line is a keep-alive. */
export type LogEntry = LoggedLine | { readonly dropped: number }

/** A line with its number, counted per app from 1. */
export interface LoggedLine extends Omit<RuntimeLine, 'at' | 'appId'> {
  readonly number: number
  /** Milliseconds since 1970. */
  readonly at: number
}

/** The body of any reply other than 200. */
export interface Refusal {
  readonly error: string
  /** The app's last output. */
  readonly said?: string
}
