/** One version of an app, ready to run. */
export interface Release {
  readonly deploymentId: string
  readonly app: DeployedApp
  /** By digest, as returned by the builder. */
  readonly image: string
  readonly region: string
  /** The complete env, except for what the platform sets itself: `PORT` and `PRIMARY_REGION`. */
  readonly env: Readonly<Record<string, string>>
  /** The platform's defaults where absent. */
  readonly health?: HealthCheck
}

/** How to check a release's health. Null: the platform's default. */
export interface HealthCheck {
  /** The path of the GET request. */
  readonly path: string | null
  /** Seconds for the release to become healthy. */
  readonly grace: number | null
  /** The app's port, where each release has its own network. */
  readonly port: number | null
}

export interface DeployedApp {
  readonly id: string
  readonly slug: string
  /** The app's name on the platform, once it has one. */
  readonly flyAppId: string | null
}

export interface RolloutContext {
  /** Aborted when the rollout is cancelled, has lost its claim, or the server stops. */
  readonly signal: AbortSignal
  say(text: string): void
  /** Stores the app's name on the platform, before anything else is created under it. */
  named(flyAppId: string): Promise<void>
}

/** A running release, which the reconciler compares with the desired state. */
export interface Running {
  readonly appId: string
  readonly flyAppId: string | null
  readonly deploymentId: string
  /** Whether it receives requests. */
  readonly isServing: boolean
  readonly isHealthy: boolean
}

export interface RuntimeLine {
  readonly appId: string
  readonly deploymentId: string | null
  readonly at: Date
  readonly level: 'debug' | 'info' | 'warn' | 'error'
  readonly source: 'app' | 'system'
  readonly region: string | null
  readonly instance: string | null
  readonly message: string
}

export interface AppMetrics {
  readonly cpuPercent: number
  readonly memory: { readonly usedMb: number; readonly totalMb: number; readonly usedPercent: number }
  readonly network: { readonly bytesInPerSec: number; readonly bytesOutPerSec: number }
  readonly requests: {
    readonly total: number
    readonly perSec: number
    readonly avgLatencyMs: number
    /** A fraction from 0 to 1. */
    readonly errorRate: number
  }
  readonly instances: readonly {
    readonly id: string
    readonly region: string
    readonly state: string
    readonly cpuPercent: number
    readonly memoryMb: number
  }[]
}

/**
 * Runs apps. Every step may be interrupted anywhere and repeated: it picks up what the last attempt left. A blue/green
 * rollout is `start`, `serve`, `retire`, in this order; the serving release is untouched until `serve`.
 */
export interface Deployer {
  readonly name: string
  /** A warning for the operator about the isolation between apps, in one or two sentences. */
  readonly caution?: string
  /**
   * Milliseconds between checks of running releases, for pages that show what has ended; absent when a check costs too
   * much.
   */
  readonly lookEvery?: number
  /** The app's URL; null while it is unknown. */
  urlOf(app: DeployedApp): string | null
  /** Names the app and creates its place, which a builder may need before anything runs. */
  prepare?(app: DeployedApp, context: RolloutContext): Promise<void>
  /**
   * Starts a release beside the serving one and waits until it is healthy. @throws DeployError when it does not become
   * healthy
   */
  start(release: Release, context: RolloutContext): Promise<void>
  /** Routes the app's requests to this started release only. */
  serve(release: Release, context: RolloutContext): Promise<void>
  /** Drains and ends the app's other releases. Null keeps none. */
  retire(app: DeployedApp, keep: string | null, signal: AbortSignal): Promise<void>
  /** Removes the app completely. Idempotent. */
  destroy(app: DeployedApp, signal: AbortSignal): Promise<void>
  /** All running releases of all apps. */
  running(signal: AbortSignal): Promise<readonly Running[]>
  /** The app's log from now on, or since `since`; ends only with the signal. */
  logs(
    app: DeployedApp,
    since: Date | null,
    signal: AbortSignal
  ): AsyncIterable<RuntimeLine | { readonly dropped: number }>
  metrics(app: DeployedApp, signal: AbortSignal): Promise<AppMetrics>
  /**
   * Calls back when whatever runs the apps has gone, and the apps with it, so that they can be started again. Absent
   * when the platform restarts apps itself.
   *
   * @returns a function that stops the callbacks
   */
  onLost?(listener: () => void): () => void
  /** Rejects when the platform does not answer or rejects our credentials; absent when it is this machine. */
  ping?(signal?: AbortSignal): Promise<void>
}

/** A release that fails to run, with a message to show its owner. */
export class DeployError extends Error {
  override readonly name = 'DeployError'
  /** The app's last output; it may contain secrets. */
  readonly said: string | undefined

  constructor(sentence: string, { said, ...options }: ErrorOptions & { readonly said?: string | undefined } = {}) {
    super(sentence, options)
    this.said = said
  }
}
