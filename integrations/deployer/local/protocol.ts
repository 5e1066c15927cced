import type { AppMetrics, DeployedApp, Running, RuntimeLine } from '../port.ts'

/**
 * What Rhone and the runner say to each other, as JSON over HTTP on a Unix socket. The runner outlives upgrades of Rhone,
 * so below this prefix things may only be added; a change that an older runner would misunderstand takes the next number.
 * `GET /` and `POST /stop` are outside of it: they are understood for ever.
 */
export const PROTOCOL = '/v1'

/** How a runner is started: its one argument, as JSON. */
export interface RunnerSettings {
  readonly dataDir: string
  /** Where apps are to be opened; 0 picks a port. */
  readonly port: number
  /** Milliseconds without apps and without a question after which it ends. */
  readonly idle: number
  /** When this directory vanishes, the runner ends with all its apps, and takes its own directory along. */
  readonly anchor?: string | undefined
}

/** Where apps are opened, as the runner has written it down. */
export interface PortRecord {
  /** What it was asked for. */
  readonly configured: number
  readonly port: number
}

/** `GET /`. */
export interface Hello {
  readonly pid: number
  /** Drawn anew by every runner: the numbers of lines count from its start. */
  readonly id: string
}

export interface Limits {
  /** Megabytes that the processes of a release may have together. */
  readonly memory: number
  /** Megabytes, and files, that an app may keep in its home; absent: an earlier Rhone asks, which knows no such limit. */
  readonly disk?: number
  readonly files?: number
  /** Processes and threads that a user of an app's own may have. */
  readonly processes: number
  /** Milliseconds in which a release must become healthy. */
  readonly healthGrace: number
  /** Milliseconds from SIGTERM to SIGKILL. */
  readonly stopGrace: number
}

/** `POST /v1/start`: answered when the release is healthy, or with 422 when it does not get there. */
export interface StartRequest {
  readonly app: AppName
  readonly deploymentId: string
  readonly image: string
  readonly region: string
  readonly env: Readonly<Record<string, string>>
  /** The PATH of the app, unless it brings its own. */
  readonly path: string
  readonly limits: Limits
}

export type AppName = Pick<DeployedApp, 'id' | 'slug'>

/** `POST /v1/serve`: answered with 409 when the release is not running. */
export interface ServeRequest {
  readonly app: AppName
  readonly deploymentId: string
}

/** `POST /v1/retire`. */
export interface RetireRequest {
  readonly appId: string
  readonly keep: string | null
  /** Milliseconds that requests under way have to end. */
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

/** `GET /v1/logs?app=&runner=&after=&since=`: one of these per line, without end. An empty line is a sign of life. */
export type LogEntry = LoggedLine | { readonly dropped: number }

/** A line, numbered in the order of its app's lines from 1 on. */
export interface LoggedLine extends Omit<RuntimeLine, 'at' | 'appId'> {
  readonly number: number
  /** Milliseconds since 1970. */
  readonly at: number
}

/** Whatever is not 200. */
export interface Refusal {
  readonly error: string
  /** The last that the app said. */
  readonly said?: string
}
