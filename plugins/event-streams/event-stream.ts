import { Readable } from 'node:stream'
import { encode, HEARTBEAT, type ServerEvent } from './encode.ts'

export interface EventStreamSettings {
  /** Events that wait for a reader at most. */
  readonly buffer: number
  /** Milliseconds of silence after which the reader is sent a sign of life. */
  readonly heartbeat: number
  /** Milliseconds for which nothing of what waits may be taken. */
  readonly stallTimeout: number
  /** Told of each event that found no place. */
  readonly onDropped: () => void
}

/**
 * The events of one reader, as the body of a reply. What the reader has no room for waits here, in a line of bounded
 * length: a source either waits for a place, or lets the event be dropped, of which the reader is told.
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

  /** Takes an event that must not be missed, when there is room for it. After the end there always is. */
  async send(event: ServerEvent): Promise<void> {
    while (this.#isFull) {
      this.#room ??= Promise.withResolvers()
      await this.#room.promise
    }
    this.#add(encode(event))
  }

  /** Takes an event that is of use now or never: where there is no room, the reader is told how many were dropped. */
  offer(event: ServerEvent): void {
    if (this.#isFull) {
      this.#dropped++
      this.#settings.onDropped()
    } else this.#add(encode(event))
  }

  /** Ends the stream after what waits and these last words. */
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

  /** Hands over all that waits. What was dropped would have come behind it, and is told of there. */
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

  /** Where something waits, the reader is behind, and needs no sign of life. */
  #beat(): void {
    if (this.#line.length === 0) this.#add(HEARTBEAT)
  }
}
