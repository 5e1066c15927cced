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
      description: 'Consecutive event loop turns with a single write after which writes are sent immediately.'
    }),
    directWrites: Type.Integer({
      default: 32,
      minimum: 0,
      description: 'Number of writes that are then sent immediately before measuring again.'
    })
  },
  { additionalProperties: false }
)
export type WriteBatchingOptions = Static<typeof WriteBatchingOptions>

export interface WriteBatchingDeps {
  /** Lists the Node socket internals this plugin needs but cannot find. Default: probes a real socket. */
  inspect?: () => Promise<string[]>
}

/**
 * Writes all replies of one event loop turn together, after everything that had arrived has been handled.
 *
 * A system call evicts processor caches and branch predictions, and a send wakes up the receiver. Between requests,
 * that costs more than the requests themselves: see `docs/performance.md`. Redis batches its replies for the same
 * reason. When turns have only one reply each there is nothing to gain, and none is held back.
 *
 * A reply waits no longer than its turn, and held writes are flushed before a connection ends. Only whole replies wait,
 * and only if no pipelined request follows them.
 */
const writeBatching: FastifyPluginAsync<PluginInput<typeof WriteBatchingOptions, WriteBatchingDeps>> = async (
  app,
  input
) => {
  const options = parseOptions('rhone-write-batching', WriteBatchingOptions, input, ['inspect'])
  const missing = await (input.inspect ?? missingInternals)()
  if (missing.length > 0) {
    app.log.warn(
      { missing },
      'this Node version builds its sockets differently: each reply is written at once, which is slower'
    )
    return
  }
  const batch = new Batch(options)
  // Over TLS, only the TLS socket sees the writes.
  const accepted = app.server instanceof TlsServer ? 'secureConnection' : 'connection'
  app.server.on(accepted, (socket: Socket) => holdWrites(socket, batch))
}

/** Routes a socket's writes through the batch. Streams guarantee at most one write in progress per socket. */
function holdWrites(socket: HttpSocket, batch: Batch): void {
  const { _write: write, _writev: writev, destroy, end } = socket
  let held: HeldWrite | undefined
  let isEnding = false

  socket._write = (chunk, encoding, callback) => send(() => write.call(socket, chunk, encoding, callback))
  if (writev) socket._writev = (chunks, callback) => send(() => writev.call(socket, chunks, callback))
  // Not `_destroy`: by then the stream has discarded the writes queued behind the current one.
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

  /** Streamed replies are not held, because readers wait for each chunk; nor pipelined ones, because the next waits. */
  function isWholeReply(): boolean {
    const { _httpMessage: reply } = socket
    return reply != null && !reply.chunkedEncoding && !isFollowed()
  }

  function sendIfFollowed(): void {
    if (isFollowed()) held?.send()
  }

  /** Whether a pipelined request has been read behind the current one. */
  function isFollowed(): boolean {
    const { _httpMessage: reply, parser } = socket
    return reply != null && parser?.incoming !== reply.req
  }

  /** Sends the held write and those queued behind it, each of which may be held in turn. */
  function sendHeld(): void {
    isEnding = true
    while (held?.isWaiting) held.send()
    isEnding = false
  }
}

/** A write made once, at the end of its turn or earlier, in the async context of its caller. */
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

/** The writes held back in this turn. */
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

  /** @returns the held write; undefined if it was made immediately */
  add(write: () => void): HeldWrite | undefined {
    if (this.#goesAtOnce()) {
      write()
      return undefined
    }
    const held = new HeldWrite(write)
    // Runs after all I/O events of this turn.
    if (this.#held.push(held) === 1) setImmediate(this.#flush)
    return held
  }

  /** Writes triggered by the flush itself (pipelined replies) go out directly instead of taking a turn each. */
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

/** An exception from one reply's listener must not hold back the other writes. */
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
