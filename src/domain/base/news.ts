import { setTimeout as delay } from 'node:timers/promises'

/** Wakes whoever waits. When it rings while nobody does, the next one does not wait at all. */
export class Bell {
  #rung = Promise.withResolvers<void>()

  readonly ring = (): void => this.#rung.resolve()

  /** @param longest milliseconds after which it goes on without having rung; bells may be missed */
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

/** Channels of notifications, with what a payload says it is about. */
type Channels = Readonly<Record<string, (payload: string) => string>>

/** Rings for those who wait for news of something. It is listened only while somebody does. */
export class News {
  readonly #listen: Listen
  readonly #channels: Channels
  readonly #bells = new Map<string, Set<Bell>>()
  #endings: Promise<() => Promise<void>>[] = []

  constructor(listen: Listen, channels: Channels) {
    this.#listen = listen
    this.#channels = channels
  }

  /** A bell that rings with each news of the subject, and may ring without, until the signal. */
  watch(subject: string, signal: AbortSignal): Bell {
    const bell = new Bell()
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

  #leave(subject: string, bell: Bell): void {
    const bells = this.#bells.get(subject)
    bells?.delete(bell)
    if (bells?.size === 0) this.#bells.delete(subject)
    if (this.#bells.size > 0) return
    for (const ending of this.#endings) void ending.then(end => end())
    this.#endings = []
  }

  #ring(bells: ReadonlySet<Bell> = new Set()): void {
    for (const { ring } of bells) ring()
  }
}

/** One read for all who ask for the same at the same moment, as those do whom one bell has woken. */
export class SharedReads<Result> {
  readonly #reads = new Map<string, Promise<Result>>()

  read(key: string, read: () => Promise<Result>): Promise<Result> {
    const running = this.#reads.get(key)
    if (running !== undefined) return running
    const reading = read()
    this.#reads.set(key, reading)
    // Not until it has ended: whoever asks later has heard of something that this read may have missed.
    setImmediate(() => this.#reads.delete(key))
    return reading
  }
}
