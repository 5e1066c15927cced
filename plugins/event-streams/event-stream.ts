import { Readable } from 'node:stream'
import { encode, HEARTBEAT, type ServerEvent } from './encode.ts'

export interface EventStreamSettings {
  /** Maximum number of events queued for a reader. */
  readonly buffer: number
  /** Milliseconds of silence after which a heartbeat is sent. */
  readonly heartbeat: number
  /** Milliseconds a reader may go without reading from its queue before the stream is destroyed. */
  readonly stallTimeout: number
  /** Called for each dropped event. */
  readonly onDropped: () => void
}

/**
 * The events for one reader, as a reply body. Events wait in a bounded queue while the reader is behind. When the queue
 * is full, a source either waits (`send`) or lets the event be dropped (`offer`), and the reader is notified.
 */
export class EventStream extends Readable {
  readonly #settings: EventStreamSettings
  readonly #heartbeat: NodeJS.Timeout
  #line: string[] = []
  #dropped = 0
  #isWanted = false
  #isFinished = false
  #room: PromiseWithResolvers<void> | undefined
  #stall: NodeJS.Timeout | undefined

  constructor(greeting: string, settings: EventStreamSettings) {
    super()
    this.#settings = settings
    this.#line.push(greeting)
    this.#heartbeat = setInterval(() => this.#beat(), settings.heartbeat).unref()
  }

  /** Queues an event that must not be lost; waits for room. After the end it returns without waiting. */
  async send(event: ServerEvent): Promise<void> {
    while (this.#isFull) {
      this.#room ??= Promise.withResolvers()
      await this.#room.promise
    }
    this.#add(encode(event))
  }

  /** Queues an event that is only useful now. If the queue is full, it is dropped, and the reader gets the count. */
  offer(event: ServerEvent): void {
    if (this.#isFull) {
      this.#dropped++
      this.#settings.onDropped()
    } else this.#add(encode(event))
  }

  /** Ends the stream after the queued events and `lastWords`. */
  finish(lastWords = ''): void {
    if (this.#isFinished) return
    this.#add(lastWords)
    this.#isFinished = true
    this.#deliver()
    this.push(null)
    this.#letIn()
  }

  override _read(): void {
    this.#isWanted = true
    clearTimeout(this.#stall)
    this.#stall = undefined
    if (this.#line.length > 0) this.#deliver()
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#isFinished = true
    clearInterval(this.#heartbeat)
    clearTimeout(this.#stall)
    this.#letIn()
    done(error)
  }

  get #isFull(): boolean {
    return !this.#isFinished && this.#line.length >= this.#settings.buffer
  }

  #add(text: string): void {
    if (this.#isFinished || text === '') return
    this.#line.push(text)
    this.#heartbeat.refresh()
    if (this.#isWanted) this.#deliver()
    else this.#stall ??= setTimeout(() => this.destroy(), this.#settings.stallTimeout).unref()
  }

  /** Delivers the whole queue. The notice of dropped events follows it, where those events would have been. */
  #deliver(): void {
    if (this.#dropped > 0) this.#line.push(encode({ event: 'dropped', data: { count: this.#dropped } }))
    const text = this.#line.join('')
    this.#line = []
    this.#dropped = 0
    this.#isWanted = false
    if (text !== '') this.push(text)
    this.#letIn()
  }

  #letIn(): void {
    this.#room?.resolve()
    this.#room = undefined
  }

  /** Skips the heartbeat if events are queued: the reader is behind and has data to read. */
  #beat(): void {
    if (this.#line.length === 0) this.#add(HEARTBEAT)
  }
}
