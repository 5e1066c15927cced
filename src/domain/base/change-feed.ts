import { setTimeout as delay } from 'node:timers/promises'

/** Wakes its waiters. If it is set while nothing waits, the next wait returns at once. */
export class WakeSignal {
  #woken = Promise.withResolvers<void>()

  readonly set = (): void => this.#woken.resolve()

  /** @param longest milliseconds after which to continue anyway, since notifications may be missed */
  async wait(longest: number, signal: AbortSignal): Promise<void> {
    const over = new AbortController()
    const until = AbortSignal.any([signal, over.signal])
    await Promise.race([this.#woken.promise, delay(longest, undefined, { signal: until, ref: false }).catch(() => {})])
    over.abort()
    this.#woken = Promise.withResolvers()
  }
}

type Listen = (
  channel: string,
  onNotify: (payload: string) => void,
  onResync: () => void
) => Promise<() => Promise<void>>

/** NOTIFY channels, each with a function that extracts the topic from a payload. */
type Channels = Readonly<Record<string, (payload: string) => string>>

/** Wakes subscribers on changes of their topic. Listens only while there are any. */
export class ChangeFeed {
  readonly #listen: Listen
  readonly #channels: Channels
  readonly #subscribers = new Map<string, Set<WakeSignal>>()
  #endings: Promise<() => Promise<void>>[] = []

  constructor(listen: Listen, channels: Channels) {
    this.#listen = listen
    this.#channels = channels
  }

  /** A wake signal that is set on each change of the topic, and possibly without one, until the signal aborts. */
  subscribe(topic: string, signal: AbortSignal): WakeSignal {
    const wake = new WakeSignal()
    if (this.#subscribers.size === 0) this.#begin()
    this.#subscribers.set(topic, (this.#subscribers.get(topic) ?? new Set()).add(wake))
    signal.addEventListener('abort', () => this.#leave(topic, wake), { once: true })
    return wake
  }

  #begin(): void {
    this.#endings = Object.entries(this.#channels).map(([channel, topicOf]) =>
      this.#listen(
        channel,
        payload => this.#wake(this.#subscribers.get(topicOf(payload))),
        () => this.#subscribers.forEach(wakes => void this.#wake(wakes))
      )
    )
  }

  #leave(topic: string, wake: WakeSignal): void {
    const wakes = this.#subscribers.get(topic)
    wakes?.delete(wake)
    if (wakes?.size === 0) this.#subscribers.delete(topic)
    if (this.#subscribers.size > 0) return
    for (const ending of this.#endings) void ending.then(end => end())
    this.#endings = []
  }

  #wake(wakes: ReadonlySet<WakeSignal> = new Set()): void {
    for (const { set } of wakes) set()
  }
}

/** Shares one read among concurrent requests for the same key, such as those of readers woken by one change. */
export class SharedReads<Result> {
  readonly #reads = new Map<string, Promise<Result>>()

  read(key: string, read: () => Promise<Result>): Promise<Result> {
    const running = this.#reads.get(key)
    if (running !== undefined) return running
    const reading = read()
    this.#reads.set(key, reading)
    // Shared only within one tick: a later request may follow a change that this read has missed.
    setImmediate(() => this.#reads.delete(key))
    return reading
  }
}
