import { createTransport, defaultStackParser, NodeClient, type NodeOptions, Scope } from '@sentry/node'
import type { Registry } from '../lib/registry.ts'
import type { DropReason } from '../lib/telemetry-drops.ts'
import { eventOf, fingerprintOf, type StackParser } from './event.ts'
import { Outbox } from './outbox.ts'
import type { ErrorReport, ErrorTracking } from './port.ts'
import { ErrorThrottle } from './throttle.ts'

export interface TrackerSettings {
  readonly dsn: string
  readonly release: string
  readonly environment: string
  readonly perMinute: number
  readonly timeout: number
  readonly registry: Registry | undefined
  readonly drop: (reason: DropReason<'errors'>, count?: number) => void
  readonly onFailure: (error: unknown) => void
}

/** The event keys that are sent; the SDK adds what it knows of the process. */
const SENT = [
  'event_id',
  'timestamp',
  'level',
  'platform',
  'type',
  'release',
  'environment',
  'exception',
  'fingerprint',
  'tags',
  'user',
  'extra',
  'contexts',
  'sdk'
] as const

/**
 * Sends errors to Sentry through its own client. Nothing is global: no integrations, handlers, breadcrumbs or patches,
 * so any number of apps can share a process.
 */
export class Tracker implements ErrorTracking {
  readonly #client: NodeClient
  readonly #throttle: ErrorThrottle
  readonly #drop: TrackerSettings['drop']
  #outbox: Outbox | undefined

  constructor(settings: TrackerSettings) {
    const { dsn, release, environment, perMinute } = settings
    this.#throttle = new ErrorThrottle(perMinute)
    this.#drop = settings.drop
    this.#client = new NodeClient({
      dsn,
      ...(release !== '' && { release }),
      ...(environment !== '' && { environment }),
      integrations: [],
      stackParser: defaultStackParser,
      includeServerName: false,
      maxBreadcrumbs: 0,
      sendClientReports: false,
      tracePropagationTargets: [],
      enableRuntimeChannelInjection: false,
      beforeSend: event => Object.fromEntries(SENT.flatMap(key => (key in event ? [[key, event[key]]] : []))) as never,
      transport: options => {
        const outbox = new Outbox({ ...settings, url: options.url })
        this.#outbox = outbox
        const post = async ({ body }: { body: string | Uint8Array }) => {
          outbox.post(body)
          return {}
        }
        return { ...createTransport(options, post), flush: limit => outbox.flush(limit ?? 0) }
      }
    } satisfies NodeOptions as ConstructorParameters<typeof NodeClient>[0])
  }

  capture(report: ErrorReport): void {
    const verdict = this.#throttle.judge(fingerprintOf(report))
    if ('dropped' in verdict) {
      this.#drop(verdict.dropped)
      return
    }
    const scope = new Scope()
    const { traceId } = report.trace ?? {}
    if (traceId !== undefined) scope.setPropagationContext({ traceId, sampleRand: 1 })
    this.#client.captureEvent(eventOf(report, defaultStackParser as StackParser, verdict.repeats), {}, scope)
  }

  async flush(timeout: number): Promise<boolean> {
    return this.#client.flush(timeout)
  }

  /** Never rejects. */
  async close(timeout: number): Promise<void> {
    await this.#client.close(timeout)
    this.#outbox?.close()
  }
}
