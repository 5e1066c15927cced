import { once } from 'node:events'
import { get, type IncomingHttpHeaders, type IncomingMessage } from 'node:http'

export interface ReadEvent {
  readonly id: string
  readonly event: string
  readonly data: string
}

/** A client of server-sent events that follows the HTML standard, and can stop reading. */
export class EventReader {
  readonly events: ReadEvent[] = []
  readonly #reply: IncomingMessage
  /** The raw text. */
  text = ''
  ended = false
  #unread = ''
  #progress = Promise.withResolvers<void>()

  private constructor(reply: IncomingMessage) {
    this.#reply = reply
    reply.setEncoding('utf8')
    reply.on('data', text => this.#take(text))
    reply.on('error', () => {})
    reply.on('close', () => {
      this.ended = true
      this.#tell()
    })
  }

  static async open(url: string, headers: Record<string, string> = {}): Promise<EventReader> {
    const request = get(url, { headers: { accept: 'text/event-stream', ...headers }, agent: false })
    const [reply] = (await once(request, 'response')) as [IncomingMessage]
    return new EventReader(reply)
  }

  get status(): number {
    return this.#reply.statusCode!
  }

  get headers(): IncomingHttpHeaders {
    return this.#reply.headers
  }

  /** Whether the reply was complete or interrupted. */
  get isComplete(): boolean {
    return this.#reply.complete
  }

  /** The first event that matches, which may have arrived already. */
  async until(holds: (event: ReadEvent) => boolean, within = 20_000): Promise<ReadEvent> {
    const late = AbortSignal.timeout(within)
    for (;;) {
      const found = this.events.find(holds)
      if (found !== undefined) return found
      if (this.ended) throw new Error(`the stream has ended; it was ${JSON.stringify(this.text.slice(-2_000))}`)
      await Promise.race([this.#progress.promise, once(late, 'abort').then(() => this.#giveUp())])
    }
  }

  named(name: string, within?: number): Promise<ReadEvent> {
    return this.until(({ event }) => event === name, within)
  }

  async end(within = 20_000): Promise<void> {
    const late = AbortSignal.timeout(within)
    while (!this.ended) await Promise.race([this.#progress.promise, once(late, 'abort').then(() => this.#giveUp())])
  }

  /** Stops reading from the socket until `resume`. */
  pause(): void {
    this.#reply.socket.pause()
    this.#reply.pause()
  }

  resume(): void {
    this.#reply.socket.resume()
    this.#reply.resume()
  }

  close(): void {
    this.#reply.destroy()
  }

  #giveUp(): never {
    throw new Error(`timed out; the stream is ${JSON.stringify(this.text.slice(-2_000))}`)
  }

  #take(text: string): void {
    this.text += text
    this.#unread += text
    const blocks = this.#unread.split(/(?:\r\n|\r|\n){2}/)
    this.#unread = blocks.pop()!
    for (const block of blocks) this.#parse(block)
    this.#tell()
  }

  #parse(block: string): void {
    const fields = { id: '', event: 'message', data: [] as string[] }
    for (const line of block.split(/\r\n|\r|\n/)) {
      const [, name = '', value = ''] = /^([^:]*)(?:: ?(.*))?$/s.exec(line) ?? []
      if (name === 'id' || name === 'event') fields[name] = value
      if (name === 'data') fields.data.push(value)
    }
    if (fields.data.length > 0) this.events.push({ ...fields, data: fields.data.join('\n') })
  }

  #tell(): void {
    this.#progress.resolve()
    this.#progress = Promise.withResolvers()
  }
}
