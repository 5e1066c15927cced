import { AsyncResource } from 'node:async_hooks'
import type { Socket } from 'node:net'
import { Server as TlsServer } from 'node:tls'
import { type Static, Type } from '@sinclair/typebox'
import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { type HttpSocket, missingInternals } from './lib/node-http.ts'
import { type PluginInput, parseOptions } from './lib/options.ts'

export const WriteBatchingOptions = Type.Object(
  {
    loneTurns: Type.Integer({
      default: 8,
      minimum: 1,
      description: 'Turns of the event loop in a row with a single write, after which nothing is held back for a while.'
    }),
    directWrites: Type.Integer({
      default: 32,
      minimum: 0,
      description: 'Writes that go out at once then, before it is seen again how many a turn has.'
    })
  },
  { additionalProperties: false }
)
export type WriteBatchingOptions = Static<typeof WriteBatchingOptions>

export interface WriteBatchingDeps {
  /** Names what Node no longer keeps at its sockets as this plugin needs it. Without it, one is looked at. */
  inspect?: () => Promise<string[]>
}

/**
 * Writes the replies of one turn of the event loop together, when all that had arrived has been handled.
 *
 * A system call leaves the processor's caches and predictions to the kernel, and one that sends wakes up whoever waits
 * for it. Done between any two requests, that costs more than the requests do: see `docs/performance.md`. Redis holds
 * back its replies for the same reason. Where a turn has but one reply there is nothing to gain, and none waits.
 *
 * A reply waits no longer than its turn takes, and whatever ends a connection has what was held back written first. Only
 * whole replies wait, and none that another request has been sent behind.
 */
const writeBatching: FastifyPluginAsync<PluginInput<typeof WriteBatchingOptions, WriteBatchingDeps>> = async (
  app,
  input
) => {
  const options = parseOptions('rhone-write-batching', WriteBatchingOptions, input, ['inspect'])
  const missing = await (input.inspect ?? missingInternals)()
  if (missing.length > 0) {
    app.log.warn({ missing }, 'this Node keeps other things at its sockets: each reply is written at once, slower')
    return
  }
  const batch = new Batch(options)
  // Over TLS, what is beneath has no part in the writes.
  const accepted = app.server instanceof TlsServer ? 'secureConnection' : 'connection'
  app.server.on(accepted, (socket: Socket) => holdWrites(socket, batch))
}

/** Has what a socket is to send wait for the batch. It never has more than one write under way: streams see to that. */
function holdWrites(socket: HttpSocket, batch: Batch): void {
  const { _write: write, _writev: writev, destroy, end } = socket
  let held: HeldWrite | undefined
  let isEnding = false

  socket._write = (chunk, encoding, callback) => send(() => write.call(socket, chunk, encoding, callback))
  if (writev) socket._writev = (chunks, callback) => send(() => writev.call(socket, chunks, callback))
  // Not `_destroy`: by then a stream forgets what waits behind the write that is under way.
  socket.destroy = error => {
    sendHeld()
    return destroy.call(socket, error)
  }
  socket.end = ((...last: Parameters<Socket['end']>) => {
    sendHeld()
    return end.apply(socket, last)
  }) as Socket['end']

  function send(write: () => void): void {
    held = isEnding || isWholeReply() ? batch.add(write) : void write()
    if (held !== undefined && !isEnding) process.nextTick(sendIfFollowed)
  }

  /** Streams have a reader who waits for each piece; and whoever sends requests ahead, for the next reply. */
  function isWholeReply(): boolean {
    const { _httpMessage: reply } = socket
    return reply != null && !reply.chunkedEncoding && !isFollowed()
  }

  function sendIfFollowed(): void {
    if (isFollowed()) held?.send()
  }

  /** Whether another request has been read behind the one that is being answered. */
  function isFollowed(): boolean {
    const { _httpMessage: reply, parser } = socket
    return reply != null && parser?.incoming !== reply.req
  }

  /** What waits behind a write follows when that has been made, and may be held in turn. */
  function sendHeld(): void {
    isEnding = true
    while (held?.isWaiting) held.send()
    isEnding = false
  }
}

/** A write that is made once, at the end of its turn or before, as if by whoever wanted it. */
class HeldWrite extends AsyncResource {
  #write: (() => void) | undefined

  constructor(write: () => void) {
    super('rhone.HeldWrite')
    this.#write = write
  }

  get isWaiting(): boolean {
    return this.#write !== undefined
  }

  send(): void {
    const write = this.#write
    this.#write = undefined
    if (write !== undefined) this.runInAsyncScope(write)
  }
}

/** What has been held back in this turn. */
class Batch {
  readonly #options: WriteBatchingOptions
  readonly #flush = () => this.#sendAll()
  #held: HeldWrite[] = []
  #isSending = false
  #loneTurns = 0
  #directWrites = 0

  constructor(options: WriteBatchingOptions) {
    this.#options = options
  }

  /** @returns the write, unless it was made at once */
  add(write: () => void): HeldWrite | undefined {
    if (this.#goesAtOnce()) {
      write()
      return undefined
    }
    const held = new HeldWrite(write)
    // After all that the system has reported in this turn.
    if (this.#held.push(held) === 1) setImmediate(this.#flush)
    return held
  }

  /** Replies to pipelined requests follow from one another, and need not take a turn each. */
  #goesAtOnce(): boolean {
    if (this.#isSending) return true
    if (this.#directWrites === 0) return false
    this.#directWrites--
    return true
  }

  #sendAll(): void {
    const held = this.#held
    this.#held = []
    this.#count(held.length)
    this.#isSending = true
    for (const write of held) attempt(write)
    this.#isSending = false
  }

  #count(writes: number): void {
    const { loneTurns, directWrites } = this.#options
    this.#loneTurns = writes === 1 ? this.#loneTurns + 1 : 0
    if (this.#loneTurns < loneTurns) return
    this.#loneTurns = 0
    this.#directWrites = directWrites
  }
}

/** What a listener throws over its own reply must not keep the others back. */
function attempt(write: HeldWrite): void {
  try {
    write.send()
  } catch (error) {
    process.nextTick(() => {
      throw error
    })
  }
}

export default fp(writeBatching, { name: 'rhone-write-batching', fastify: '5.x' })
