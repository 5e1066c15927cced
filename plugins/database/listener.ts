import { setTimeout as delay } from 'node:timers/promises'
import type { PostgresTarget } from '../lib/postgres.ts'
import { ask, openSession, type Session } from '../lib/postgres-session.ts'

export interface Subscription {
  onNotify: (payload: string) => void
  /** Called whenever listening starts, including the first time: earlier notifications may have been missed. */
  onResync: () => void
  /** Called when notifications stop arriving, until the next `onResync`. */
  onLost?: (() => void) | undefined
  /** Called every few seconds: all that was committed before this time, as `performance.now()`, has been notified. */
  onAlive?: ((at: number) => void) | undefined
}

export interface ListenerSettings {
  target: PostgresTarget
  applicationName: string
  /** Seconds. */
  connectTimeout: number
  /** A subscriber's callback threw. */
  onCallbackError: (error: unknown, channel: string) => void
}

/** First pause between connection attempts, in milliseconds; doubles after each failure. */
const MIN_PAUSE = 100
const MAX_PAUSE = 5_000
/**
 * Heartbeat interval, and below it the timeout of any answer, in milliseconds: a silently dead connection is noticed
 * within five seconds.
 */
const HEARTBEAT = 2_000
const ANSWER_TIMEOUT = 3_000

/** Listens on any number of channels over one connection, and reconnects when it is lost. */
export class Listener {
  readonly #settings: ListenerSettings
  #target: PostgresTarget
  readonly #channels = new Map<string, Set<Subscription>>()
  readonly #ending = new AbortController()
  #wake = new AbortController()
  #running: Promise<void> | undefined
  #session: Session | undefined
  /** The same session, once it listens on all channels. */
  #live: Session | undefined

  constructor(settings: ListenerSettings) {
    this.#settings = settings
    this.#target = settings.target
  }

  /** Listens over a new connection to this target; subscribers are notified of the gap, as after any other. */
  retarget(target: PostgresTarget): void {
    this.#target = target
    this.#session?.destroy()
    this.#wake.abort()
  }

  /** @returns a function that ends the subscription */
  listen(channel: string, subscription: Subscription): () => Promise<void> {
    const subscriptions = this.#channels.get(channel) ?? new Set()
    this.#channels.set(channel, subscriptions.add(subscription))
    if (this.#live !== undefined) void this.#join(this.#live, channel, subscription)
    this.#running ??= this.#run()
    return () => this.#leave(channel, subscription)
  }

  async end(): Promise<void> {
    this.#ending.abort()
    this.#session?.destroy()
    await this.#running
  }

  async #run(): Promise<void> {
    const { signal } = this.#ending
    for (let failures = 0; !signal.aborted; failures++) {
      if (this.#wake.signal.aborted) {
        this.#wake = new AbortController()
        failures = 0
      }
      try {
        await this.#listenUntilClosed(() => {
          failures = 0
        })
      } catch {
        // The database is unreachable, which other parts report. Retry until it is back.
      }
      const pause = Math.min(MAX_PAUSE, MIN_PAUSE * 2 ** failures) * (0.5 + Math.random() / 2)
      const awaited = AbortSignal.any([signal, this.#wake.signal])
      await delay(pause, undefined, { signal: awaited, ref: false }).catch(() => {})
    }
  }

  async #listenUntilClosed(onListening: () => void): Promise<void> {
    const closed = Promise.withResolvers<void>()
    const session = this.#openSession(closed.resolve)
    this.#session = session
    const heartbeat = setInterval(() => void this.#beat(session), HEARTBEAT).unref()
    try {
      await ask(session, 'select 1', this.#settings.connectTimeout * 1_000)
      for (const channel of this.#channels.keys()) await ask(session, `listen ${quoted(channel)}`, ANSWER_TIMEOUT)
      if (this.#ending.signal.aborted) return
      this.#live = session
      onListening()
      for (const [channel, subscriptions] of this.#channels)
        for (const { onResync } of subscriptions) void this.#call(channel, onResync)
      await closed.promise
    } finally {
      if (this.#live !== undefined) this.#loseAll()
      this.#live = undefined
      clearInterval(heartbeat)
      session.destroy()
    }
  }

  /** An answer comes behind the notifications of what was committed before the question. */
  async #beat(session: Session): Promise<void> {
    const askedAt = performance.now()
    const isAnswered = await ask(session, 'select 1', ANSWER_TIMEOUT).then(
      () => true,
      () => false
    )
    if (!isAnswered || this.#live !== session) return
    for (const [channel, subscriptions] of this.#channels)
      for (const { onAlive } of subscriptions)
        if (onAlive !== undefined) void this.#call(channel, () => onAlive(askedAt))
  }

  #loseAll(): void {
    for (const [channel, subscriptions] of this.#channels)
      for (const { onLost } of subscriptions) if (onLost !== undefined) void this.#call(channel, onLost)
  }

  #openSession(onClose: () => void): Session {
    return openSession(this.#target, {
      applicationName: `${this.#settings.applicationName}-listen`,
      connectTimeout: this.#settings.connectTimeout,
      prepare: false,
      onClose,
      onNotify: (channel, payload) => {
        for (const { onNotify } of this.#channels.get(channel) ?? []) void this.#call(channel, () => onNotify(payload))
      }
    })
  }

  async #join(session: Session, channel: string, { onResync }: Subscription): Promise<void> {
    try {
      await ask(session, `listen ${quoted(channel)}`, ANSWER_TIMEOUT)
    } catch {
      // The connection is lost. The next one listens on all channels.
      return
    }
    await this.#call(channel, onResync)
  }

  async #leave(channel: string, subscription: Subscription): Promise<void> {
    const subscriptions = this.#channels.get(channel)
    subscriptions?.delete(subscription)
    if (subscriptions?.size !== 0) return
    this.#channels.delete(channel)
    // If this fails, the connection is lost, and the next one does not listen on the channel.
    if (this.#live !== undefined) await ask(this.#live, `unlisten ${quoted(channel)}`, ANSWER_TIMEOUT).catch(() => {})
  }

  async #call(channel: string, callback: () => unknown): Promise<void> {
    try {
      await callback()
    } catch (error) {
      this.#settings.onCallbackError(error, channel)
    }
  }
}

function quoted(identifier: string): string {
  return `"${identifier.replaceAll('"', '""')}"`
}
