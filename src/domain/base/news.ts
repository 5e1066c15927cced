import { setTimeout as delay } from 'node:timers/promises'

/** Wakes its waiters. If it rings while nothing waits, the next wait returns at once. */
export class WakeSignal {
  #rung = Promise.withResolvers<void>()

  readonly ring = (): void => this.#rung.resolve()

  /** @param longest milliseconds after which to continue anyway, since notifications may be missed */
  async wait(longest: number, signal: AbortSignal): Promise<void> {
    const over = new AbortController()
    const until = AbortSignal.any([signal, over.signal])
    await Promise.race([this.#rung.promise, delay(longest, undefined, { signal: until, ref: false }).catch(() => {})])
    over.abort()
    this.#rung = Promise.withResolvers()
  }
}

type Listen = (
  channel: string,
  onNotify: (payload: string) => void,
  onResync: () => void
) => Promise<() => Promise<void>>

/** NOTIFY channels, each with a function that extracts the subject from a payload. */
type Channels = Readonly<Record<string, (payload: string) => string>>

/** Rings bells on news of a subject. Listens only while there are watchers. */
export class News {
  readonly #listen: Listen
  readonly #channels: Channels
  readonly #bells = new Map<string, Set<WakeSignal>>()
  #endings: Promise<() => Promise<void>>[] = []

  constructor(listen: Listen, channels: Channels) {
    this.#listen = listen
    this.#channels = channels
  }

  /** A bell that rings on each news of the subject, and possibly without any, until the signal aborts. */
  watch(subject: string, signal: AbortSignal): WakeSignal {
    const bell = new WakeSignal()
    if (this.#bells.size === 0) this.#begin()
    this.#bells.set(subject, (this.#bells.get(subject) ?? new Set()).add(bell))
    signal.addEventListener('abort', () => this.#leave(subject, bell), { once: true })
    return bell
  }

  #begin(): void {
    this.#endings = Object.entries(this.#channels).map(([channel, subjectOf]) =>
      this.#listen(
        channel,
        payload => this.#ring(this.#bells.get(subjectOf(payload))),
        () => this.#bells.forEach(bells => void this.#ring(bells))
      )
    )
  }

  #leave(subject: string, bell: WakeSignal): void {
    const bells = this.#bells.get(subject)
    bells?.delete(bell)
    if (bells?.size === 0) this.#bells.delete(subject)
    if (this.#bells.size > 0) return
    for (const ending of this.#endings) void ending.then(end => end())
    this.#endings = []
  }

  #ring(bells: ReadonlySet<WakeSignal> = new Set()): void {
    for (const { ring } of bells) ring()
  }
}

/** Shares one read among concurrent requests for the same key, such as those of readers woken by one bell. */
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
