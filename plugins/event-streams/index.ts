import { setInterval as every } from 'node:timers/promises'
import { type Static, Type } from '@sinclair/typebox'
import type { FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { AppError, errors } from '../lib/errors.ts'
import { counter, gauge } from '../lib/metrics.ts'
import { type PluginInput, parseOptions } from '../lib/options.ts'
import type { Registry } from '../lib/registry.ts'
import { encode, encodeRetry, type ServerEvent } from './encode.ts'
import { EventStream } from './event-stream.ts'

export type { ServerEvent }

const milliseconds = (value: number, description: string) =>
  Type.Integer({ default: value, minimum: 1, description: `Milliseconds ${description}` })

export const EventStreamsOptions = Type.Object(
  {
    heartbeat: milliseconds(15_000, 'of silence after which a reader gets a heartbeat.'),
    retry: milliseconds(5_000, 'after which a reader reconnects when its stream has ended.'),
    stallTimeout: milliseconds(30_000, 'for which a reader may leave pending events unread.'),
    recheckInterval: milliseconds(5_000, 'between checks whether a reader is still authorized.'),
    buffer: Type.Integer({
      default: 100,
      minimum: 1,
      description: 'Maximum number of events that wait for one reader.'
    }),
    maxPerOwner: Type.Integer({ default: 10, minimum: 1, description: 'Maximum number of open streams per user.' }),
    max: Type.Integer({ default: 1_000, minimum: 1, description: 'Maximum number of open streams.' })
  },
  { additionalProperties: false }
)
export type EventStreamsOptions = Static<typeof EventStreamsOptions>

export interface EventStreamsDeps {
  /** The key streams are counted by. Default: the user id, or the client address for anonymous callers. */
  owner?: (request: FastifyRequest) => string
  registry?: Registry
}

/** Receives a source's events. */
export interface EventSink {
  /** Waits for room: for events that must not be missed. */
  send(event: ServerEvent): Promise<void>
  /** Never waits: if there is no room, the event is dropped, and the reader gets a `dropped` event with the `count`. */
  offer(event: ServerEvent): void
}

/** Emits events until it is done, or until the signal aborts because the stream has closed. */
export type EventSource = (sink: EventSink, signal: AbortSignal) => Promise<void>

export interface EventStreams {
  readonly open: number
  /**
   * Answers a request with a source's events. The source starts with the reply, and the stream ends with the source. If
   * the source fails, the reply is cut off and the reader reconnects.
   *
   * @param guard throws when the reader has lost access; called every `recheckInterval`
   * @returns the reply, for the handler to return
   * @throws 429 when the caller has too many streams open, 503 when the server has
   */
  answer(
    request: FastifyRequest,
    reply: FastifyReply,
    source: EventSource,
    guard?: () => Promise<unknown>
  ): FastifyReply
}

declare module 'fastify' {
  interface FastifyInstance {
    eventStreams: EventStreams
  }
}

/** Why a stream ended, if the reader did not disconnect. */
type End = 'complete' | 'shutdown' | 'forbidden' | 'failed'

/** Server-sent events, with limits on open streams and on each reader's queue. Streams end before the server closes. */
const eventStreams: FastifyPluginAsync<PluginInput<typeof EventStreamsOptions, EventStreamsDeps>> = async (
  app,
  input
) => {
  const options = parseOptions('rhone-event-streams', EventStreamsOptions, input, ['owner', 'registry'])
  const ownerOf = input.owner ?? defaultOwner
  const byOwner = new Map<string, number>()
  const ending = new Set<() => void>()
  let isClosing = false

  const open = gauge(input.registry, { name: 'rhone_event_streams', help: 'Open event streams.' })
  const ended = counter(input.registry, {
    name: 'rhone_event_streams_ended_total',
    help: 'Event streams that have ended, by reason.',
    labelNames: ['reason']
  })
  const dropped = counter(input.registry, {
    name: 'rhone_event_streams_dropped_total',
    help: 'Events dropped because a reader was too slow.'
  })

  app.decorate('eventStreams', {
    get open() {
      return ending.size
    },
    answer(request, reply, source, guard) {
      const owner = ownerOf(request)
      refuseTooMany(owner)
      reply.type('text/event-stream; charset=utf-8').headers({ 'cache-control': 'no-store', 'x-accel-buffering': 'no' })
      if (request.method === 'HEAD') return reply.send()

      const stream = new EventStream(encodeRetry(options.retry), { ...options, onDropped: () => dropped.inc() })
      attend(stream, owner, request, source, guard)
      reply.raw.once('close', () => stream.destroy())
      return reply.send(stream)
    }
  })

  function refuseTooMany(owner: string): void {
    const patience = Math.ceil(options.retry / 1_000)
    if (isClosing || ending.size >= options.max) throw errors.unavailable(patience, 'Too many streams are open')
    if ((byOwner.get(owner) ?? 0) >= options.maxPerOwner)
      throw errors.rateLimit(patience, `You have ${options.maxPerOwner} streams open, the maximum`)
  }

  /** Runs a source until its stream closes. */
  function attend(
    stream: EventStream,
    owner: string,
    request: FastifyRequest,
    source: EventSource,
    guard: (() => Promise<unknown>) | undefined
  ): void {
    const left = new AbortController()
    let reason: End | undefined
    const end = (why: End, lastWords?: string) => {
      reason ??= why
      stream.finish(lastWords)
    }
    const fail = (error: unknown) => {
      if (left.signal.aborted) return
      reason ??= error instanceof AppError && error.statusCode < 500 ? 'forbidden' : 'failed'
      if (reason === 'failed') request.log.warn({ err: error }, 'an event stream failed')
      stream.destroy()
    }
    const shutDown = () => end('shutdown', farewell(options.retry))
    const takeBack = app.hasDecorator('drain') ? app.drain.onDrain(shutDown) : () => {}
    ending.add(shutDown)
    byOwner.set(owner, (byOwner.get(owner) ?? 0) + 1)
    open.inc()

    stream.once('close', () => {
      left.abort()
      takeBack()
      ending.delete(shutDown)
      leaveOwner(owner)
      open.dec()
      ended.inc({ reason: reason ?? 'left' })
    })
    source(stream, left.signal).then(() => end('complete'), fail)
    if (guard !== undefined) recheck(guard, options.recheckInterval, left.signal).catch(fail)
  }

  function leaveOwner(owner: string): void {
    const others = byOwner.get(owner)! - 1
    if (others === 0) byOwner.delete(owner)
    else byOwner.set(owner, others)
  }

  // With the drain plugin, the streams have already ended by now.
  app.addHook('preClose', async () => {
    isClosing = true
    for (const end of ending) end()
  })
}

/** Spreads out reconnects with a random retry delay. */
function farewell(retry: number): string {
  const goodbye = encode({ event: 'disconnected', data: { reason: 'shutdown' } })
  return encodeRetry(retry * (0.2 + 0.8 * Math.random())) + goodbye
}

async function recheck(guard: () => Promise<unknown>, interval: number, signal: AbortSignal): Promise<void> {
  for await (const _ of every(interval, undefined, { signal, ref: false })) await guard()
}

function defaultOwner(request: FastifyRequest): string {
  return request.principal?.userId ?? request.clientIp?.address ?? request.ip
}

export default fp(eventStreams, { name: 'rhone-event-streams', fastify: '5.x' })
