import { AsyncLocalStorage } from 'node:async_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import type { Registry } from '../lib/registry.ts'
import { createRemote, type Remote, RemoteError } from '../lib/remote.ts'
import type { DropReason } from '../lib/telemetry-drops.ts'

export interface OutboxSettings {
  /** Where envelopes are sent, with the key in its query. */
  readonly url: string
  /** Milliseconds for one envelope. */
  readonly timeout: number
  readonly registry: Registry | undefined
  readonly drop: (reason: DropReason<'errors'>, count?: number) => void
  /** Called when sending starts to fail. */
  readonly onFailure: (error: unknown) => void
}

const MAX_WAITING = 30
/** Milliseconds before a failed delivery is retried; doubles each time. */
const PAUSE = 1_000
const MAX_PAUSE = 10_000

/**
 * Delivers envelopes one at a time. While the receiver fails, waiting envelopes are kept, up to a limit: the first
 * errors of an outage tell more than the last.
 */
export class Outbox {
  readonly #settings: OutboxSettings
  readonly #remote: Remote
  readonly #path: string
  readonly #waiting: (string | Uint8Array)[] = []
  /** Deliveries run outside the request that may have caused them. */
  readonly #outside = AsyncLocalStorage.snapshot()
  #emptying: Promise<void> | undefined
  #hurry = new AbortController()
  #isFailing = false

  constructor(settings: OutboxSettings) {
    const { url, timeout, registry } = settings
    const { origin, pathname, search } = new URL(url)
    this.#settings = settings
    this.#path = pathname + search
    this.#remote = createRemote({
      service: 'sentry',
      baseUrl: origin,
      timeout,
      retries: 0,
      breaker: { failures: 5, pause: PAUSE },
      registry
    })
  }

  post(envelope: string | Uint8Array): void {
    if (this.#waiting.length >= MAX_WAITING) {
      this.#settings.drop('queue_full')
      return
    }
    this.#waiting.push(envelope)
    this.#emptying ??= this.#outside(() => this.#empty()).finally(() => {
      this.#emptying = undefined
    })
  }

  /**
   * Tries to deliver everything that waits now. @returns whether all of it was delivered within `limit` milliseconds
   */
  async flush(limit: number): Promise<boolean> {
    this.#hurry.abort()
    await Promise.race([this.#emptying, delay(limit, undefined, { ref: false })])
    return this.#waiting.length === 0
  }

  /** Drops and counts the waiting envelopes. */
  close(): void {
    if (this.#waiting.length > 0) this.#settings.drop('shutdown', this.#waiting.length)
    this.#waiting.length = 0
    this.#hurry.abort()
  }

  async #empty(): Promise<void> {
    let pause = PAUSE
    for (let envelope = this.#waiting[0]; envelope !== undefined; envelope = this.#waiting[0]) {
      const failure = await this.#deliver(envelope)
      if (failure === undefined || isFinal(failure)) {
        // Closed in the meantime: already counted.
        if (this.#waiting.shift() !== undefined && failure !== undefined) this.#settings.drop('export_failed')
        pause = PAUSE
        continue
      }
      await this.#wait(Math.max(pause, (failure.retryAfter ?? 0) * 1_000))
      pause = Math.min(MAX_PAUSE, pause * 2)
    }
  }

  async #deliver(body: string | Uint8Array): Promise<RemoteError | undefined> {
    try {
      const headers = { 'content-type': 'application/x-sentry-envelope' }
      await this.#remote.call({
        operation: 'envelope',
        method: 'POST',
        path: this.#path,
        body,
        headers,
        idempotent: false
      })
      this.#isFailing = false
      return undefined
    } catch (error) {
      if (!(error instanceof RemoteError)) throw error
      if (!this.#isFailing) this.#settings.onFailure(error)
      this.#isFailing = true
      return error
    }
  }

  async #wait(ms: number): Promise<void> {
    if (this.#hurry.signal.aborted) this.#hurry = new AbortController()
    await delay(ms, undefined, { ref: false, signal: this.#hurry.signal }).catch(() => {})
  }
}

/** The receiver refuses this envelope, and would refuse it again. */
const isFinal = ({ kind, status = 0 }: RemoteError): boolean =>
  kind === 'shape' || (kind === 'status' && status < 500 && status !== 429)
