/** One version of an app, ready to run. */
export interface Release {
  readonly deploymentId: string
  readonly app: DeployedApp
  /** By digest, as the builder gave it. */
  readonly image: string
  readonly region: string
  /** All of it, but for what the platform sets by itself: `PORT` and `PRIMARY_REGION`. */
  readonly env: Readonly<Record<string, string>>
}

export interface DeployedApp {
  readonly id: string
  readonly slug: string
  /** What the app is called where it runs, once it has a name there. */
  readonly flyAppId: string | null
}

export interface RolloutContext {
  /** Aborted when the rollout is cancelled, has lost its claim, or the server stops. */
  readonly signal: AbortSignal
  say(text: string): void
  /** Keeps the name that the app has got where it runs, before anything else is made under it. */
  named(flyAppId: string): Promise<void>
}

/** What runs of an app, as the reconciler compares it with what should. */
export interface Running {
  readonly appId: string
  readonly flyAppId: string | null
  readonly deploymentId: string
  /** Whether requests go to it. */
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
    /** A share from 0 to 1. */
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
 * Runs apps. Every step may be cut off anywhere and done again: it finds what the last attempt has left, and goes on.
 * Blue/green is `start`, `serve`, `retire`, in this order; what serves is not touched before `serve`.
 */
export interface Deployer {
  readonly name: string
  /** What whoever starts the server has to know of the bounds between apps, in one or two sentences. */
  readonly caution?: string
  /** Where the app is to be opened; null while nobody can tell. */
  urlOf(app: DeployedApp): string | null
  /** Gives an app its name and its place, which a builder may need before there is anything to run. */
  prepare?(app: DeployedApp, context: RolloutContext): Promise<void>
  /** Brings a release up beside what serves, until it is healthy. @throws DeployError when it does not get there */
  start(release: Release, context: RolloutContext): Promise<void>
  /** Sends the app's requests to this release, which has been started, and to no other. */
  serve(release: Release, context: RolloutContext): Promise<void>
  /** Lets the app's other releases finish what they are doing, and ends them. Null keeps none. */
  retire(app: DeployedApp, keep: string | null, signal: AbortSignal): Promise<void>
  /** Takes the whole app away, with all that belongs to it; done already is done, too. */
  destroy(app: DeployedApp, signal: AbortSignal): Promise<void>
  /** Everything that runs, of every app. */
  running(signal: AbortSignal): Promise<readonly Running[]>
  /** What the app says from now on, or since `since`; ends with the signal only. */
  logs(
    app: DeployedApp,
    since: Date | null,
    signal: AbortSignal
  ): AsyncIterable<RuntimeLine | { readonly dropped: number }>
  metrics(app: DeployedApp, signal: AbortSignal): Promise<AppMetrics>
  /**
   * Calls back when whatever keeps the apps running has gone, and they with it: what should run is to be started again.
   * Absent: the platform does so by itself.
   *
   * @returns what ends this
   */
  onLost?(listener: () => void): () => void
  /** Rejects when the platform does not answer, or not to us; absent: it is this machine. */
  ping?(signal?: AbortSignal): Promise<void>
}

/** A release that does not run, with a message that its owner is shown. */
export class DeployError extends Error {
  override readonly name = 'DeployError'
  /** The last that the app said: not our words, and perhaps not without secrets. */
  readonly said: string | undefined

  constructor(sentence: string, { said, ...options }: ErrorOptions & { readonly said?: string | undefined } = {}) {
    super(sentence, options)
    this.said = said
  }
}
