import type { Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { type Static, Type } from '@sinclair/typebox'
import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { onEntry } from './lib/entry.ts'
import type { HttpSocket } from './lib/node-http.ts'
import { type PluginInput, parseOptions } from './lib/options.ts'
import { requestTracker } from './lib/request-tracker.ts'

export const DrainOptions = Type.Object(
  {
    grace: Type.Integer({
      default: 0,
      minimum: 0,
      description: 'Milliseconds to keep serving while not ready, so that load balancers notice.'
    }),
    deadline: Type.Integer({
      default: 25_000,
      minimum: 0,
      description: 'Milliseconds from the start of the drain after which open connections are closed.'
    }),
    headGrace: Type.Integer({
      default: 1_000,
      minimum: 0,
      description: 'Milliseconds for which a connection without a complete request may delay the close.'
    })
  },
  { additionalProperties: false }
)
export type DrainOptions = Static<typeof DrainOptions>

export interface Drain {
  /** True from the first sign of shutdown: the instance is not ready, and every reply closes its connection. */
  readonly draining: boolean
  /** Keeps serving for the grace period, then ends the streams. Resolves when the app may be closed. Runs only once. */
  start(): Promise<void>
  /**
   * For replies that do not end by themselves: `end` is called when the grace period is over, or the app is closed.
   *
   * @returns a function that unregisters it; call it when the reply has ended otherwise
   */
  onDrain(end: () => void): () => void
}

declare module 'fastify' {
  interface FastifyInstance {
    drain: Drain
  }
}

/** Interval between checks of all connections while the server closes, in milliseconds. */
const POLL_MS = 100

/**
 * Takes the server out of service without losing a request, in three phases. Grace: not ready, but everything is
 * served. Streams: they are ended. Closing, which is `app.close()`: nothing new is accepted, requests in flight finish,
 * and the deadline ends the rest.
 *
 * Node would wait for each idle connection until its keep-alive timeout, and stops timing out slow request heads once
 * it closes, so connections are managed here.
 */
const drain: FastifyPluginAsync<PluginInput<typeof DrainOptions>> = async (app, input) => {
  const { grace, deadline, headGrace } = parseOptions('rhone-drain', DrainOptions, input)
  const requests = requestTracker(app)
  const streams = new Set<() => void>()
  const sockets = new Set<HttpSocket>()
  let startedAt: number | undefined
  let started: Promise<void> | undefined
  let stoppedAt: number | undefined

  app.decorate('drain', {
    get draining() {
      return startedAt !== undefined
    },
    start() {
      started ??= serveOn()
      return started
    },
    onDrain(end) {
      streams.add(end)
      return () => streams.delete(end)
    }
  })

  onEntry(app, (_request, { raw }) => {
    if (startedAt !== undefined) raw.shouldKeepAlive = false
    return undefined
  })

  // Not `server.closeAllConnections()`: it covers neither upgraded sockets nor those still in a TLS handshake.
  app.server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })

  let poll: NodeJS.Timeout | undefined
  const stopPolling = () => clearInterval(poll)
  app.addHook('preClose', async () => {
    const since = beginDraining()
    endStreams()
    app.log.info({ phase: 'closing', inFlight: requests.inFlight }, 'drain: finishing requests')
    poll = setInterval(closeConnections, POLL_MS, since + deadline).unref()
    app.server.once('close', stopPolling)
  })
  app.addHook('onClose', async () => {
    stopPolling()
    app.log.info({ phase: 'closed' }, 'drain: closed')
  })

  async function serveOn(): Promise<void> {
    beginDraining()
    app.log.info({ phase: 'grace', grace, inFlight: requests.inFlight }, 'drain: not ready, still serving')
    await delay(Math.min(grace, deadline), undefined, { ref: false })
    endStreams()
  }

  /** From now on every reply announces that it is its connection's last, including replies to requests in flight. */
  function beginDraining(): number {
    startedAt ??= performance.now()
    for (const { _httpMessage: reply } of sockets) if (reply) reply.shouldKeepAlive = false
    return startedAt
  }

  function endStreams(): void {
    const ending = [...streams]
    streams.clear()
    if (ending.length > 0) app.log.info({ phase: 'streams', streams: ending.length }, 'drain: ending streams')
    for (const end of ending) {
      try {
        end()
      } catch (error) {
        app.log.warn({ err: error }, 'drain: a stream failed to end')
      }
    }
  }

  function closeConnections(until: number): void {
    const now = performance.now()
    if (now >= until) {
      app.log.warn(
        { phase: 'deadline', inFlight: requests.inFlight },
        'drain: deadline passed, closing the remaining connections'
      )
      stopPolling()
      cutOff()
    } else if (!app.server.listening) {
      stoppedAt ??= now
      if (requests.inFlight === 0 && now - stoppedAt >= headGrace) cutOff()
      else app.server.closeIdleConnections()
    }
  }

  function cutOff(): void {
    for (const socket of sockets) socket.destroy()
  }
}

export default fp(drain, { name: 'rhone-drain', fastify: '5.x' })
