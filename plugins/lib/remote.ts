import { setTimeout as delay } from 'node:timers/promises'
import type { Registry } from '@platformatic/prom-client'
import type { Static, TSchema } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import { Breaker, type BreakerSettings } from './remote/breaker.ts'
import { RemoteError } from './remote/error.ts'
import { Exchange, type Outgoing } from './remote/exchange.ts'
import { measure, type RemoteTrace } from './remote/measure.ts'
import { pauseBefore, RetryBudget, type RetrySettings, retryAfterOf } from './remote/retries.ts'
import { encode, headersOf, otherForm, parseBody, read } from './remote/wire.ts'

export { RemoteError, type RemoteTrace }

export interface RemoteSettings extends Partial<RetrySettings> {
  /** Its name in metrics, spans and errors. */
  readonly service: string
  /** What every path is appended to; without a slash at its end. */
  readonly baseUrl: string
  /** Headers of every request. */
  readonly headers?: Readonly<Record<string, string>>
  /** Milliseconds that one attempt may take; 10 s by default. */
  readonly timeout?: number
  /** Milliseconds that a call may take with all its attempts; 30 s by default. */
  readonly deadline?: number
  /** Of an answer; 10 MB by default. */
  readonly maxBytes?: number
  readonly breaker?: Partial<BreakerSettings>
  /** Seconds after which to come again, for services that do not (only) say so in `Retry-After`. */
  readonly retryAfter?: (status: number, headers: Headers) => number | undefined
  readonly registry?: Registry | undefined
}

export interface RemoteRequest {
  /** What is asked for, in the service's own terms: a label of metrics, from a closed set. */
  readonly operation: string
  readonly method?: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  /** From the slash on, with its query; whatever comes from users is encoded already. */
  readonly path: string
  readonly headers?: Readonly<Record<string, string>>
  /** A form, text or bytes as they are; anything else as JSON. */
  readonly body?: object | string
  /** Aborted: the call ends at once, with the signal's reason. */
  readonly signal?: AbortSignal | undefined
  /** Whether it may be repeated; by default, whether its method says so. */
  readonly idempotent?: boolean
  /** Instead of those of the client. */
  readonly timeout?: number
  readonly deadline?: number
}

export interface RemoteCall<Schema extends TSchema, Accepted extends number> extends RemoteRequest {
  /** What a good answer looks like. */
  readonly schema?: Schema
  /** Reads the body; as JSON by default. */
  readonly parse?: (text: string) => unknown
  /** Statuses other than 2xx that are answers, too, rather than errors. */
  readonly accept?: readonly Accepted[]
}

export interface RemoteAnswer<Body> {
  readonly ok: true
  readonly status: number
  readonly headers: Headers
  readonly body: Body
}

/** An answer whose status is one of those accepted; its body is JSON if it can be read as that, or else text. */
export interface OtherAnswer<Status extends number> {
  readonly ok: false
  readonly status: Status
  readonly headers: Headers
  readonly body: unknown
}

type Answer<Body, Accepted extends number> =
  | RemoteAnswer<Body>
  | ([Accepted] extends [never] ? never : OtherAnswer<Accepted>)

/** One service that Rhone calls. */
export interface Remote {
  /**
   * Asks it, and again if that can help and does no harm.
   *
   * @throws RemoteError; the signal's reason when its caller has aborted it
   */
  call<Schema extends TSchema, Accepted extends number = never>(
    request: RemoteCall<Schema, Accepted>
  ): Promise<Answer<Static<Schema>, Accepted>>
  /** The same for an answer that comes little by little, without a limit in time or size. It has to be read or aborted. */
  stream(request: RemoteRequest): Promise<RemoteAnswer<AsyncGenerator<Uint8Array, void, void>>>
}

const IDEMPOTENT: ReadonlySet<string> = new Set(['GET', 'HEAD', 'PUT', 'DELETE'])

/**
 * A client of another service: the one way in which this server calls out. Every call has a time limit; those that may be
 * repeated are, within a budget; a service that only fails is left alone for a while.
 */
export function createRemote(settings: RemoteSettings): Remote {
  const { service, baseUrl, retries = 2, backoff = 200, maxBytes = 10_000_000 } = settings
  const measured = measure(settings.registry, service)
  const breaker = new Breaker({ failures: 10, pause: 5_000, ...settings.breaker }, measured.circuit)
  const budget = new RetryBudget()

  /** Makes attempts until one succeeds, or no other one makes sense. */
  async function run<T>(request: RemoteRequest, receive: Reader<T>): Promise<T> {
    const { operation, method = 'GET', signal, idempotent = IDEMPOTENT.has(method) } = request
    const end = performance.now() + (request.deadline ?? settings.deadline ?? 30_000)
    budget.earn()
    for (let attempt = 1; ; attempt++) {
      const trace: RemoteTrace = { service, operation, method, attempt, headers: {} }
      try {
        return await measured.attempt(trace, () =>
          breaker.run(
            () => ask(request, trace, end - performance.now(), receive),
            () => new RemoteError({ service, operation, kind: 'refused', retryAfter: 5 })
          )
        )
      } catch (error) {
        const pause = pauseBefore(error, attempt, end - performance.now(), { retries, backoff })
        if (!idempotent || pause === null || !budget.spend()) throw error
        await pauseFor(pause, signal)
      }
    }
  }

  async function ask<T>(request: RemoteRequest, trace: RemoteTrace, left: number, receive: Reader<T>): Promise<T> {
    const outgoing = outgoingOf(request, trace)
    const timeout = Math.min(left, request.timeout ?? settings.timeout ?? 10_000)
    const exchange = new Exchange(trace, timeout, request.signal)
    try {
      const response = await exchange.send(outgoing)
      trace.status = response.status
      return await receive(response, exchange)
    } catch (error) {
      exchange.end()
      throw exchange.explain(error)
    }
  }

  function outgoingOf(request: RemoteRequest, trace: RemoteTrace): Outgoing {
    const { method = 'GET', path, body } = request
    const { type, content } = encode(body)
    const headers = headersOf(trace, type, settings.headers, request.headers, trace.headers)
    return { url: `${baseUrl}${path}`, method, headers, body: content }
  }

  function unexpected({ status, headers }: Response, exchange: Exchange): RemoteError {
    const retryAfter = settings.retryAfter?.(status, headers) ?? retryAfterOf(headers)
    return exchange.failure('status', { status, retryAfter })
  }

  return {
    call: ({ schema, accept = [], parse = parseBody, ...request }) =>
      run(request, async (response, exchange) => {
        const { ok, status, headers } = response
        if (!ok && !accept.some(accepted => accepted === status)) throw unexpected(response, exchange)
        const body = read(exchange, parse, await exchange.textOf(response, maxBytes))
        exchange.end()
        if (ok && schema !== undefined && !Value.Check(schema, body)) throw otherForm(exchange, schema, body)
        return { ok, status, headers, body } as never
      }),

    stream: request =>
      run(request, async (response, exchange) => {
        const { ok, status, headers } = response
        if (!ok) throw unexpected(response, exchange)
        exchange.liftLimit()
        return { ok, status, headers, body: exchange.chunksOf(response) }
      })
  }
}

type Reader<T> = (response: Response, exchange: Exchange) => Promise<T>

async function pauseFor(ms: number, signal: AbortSignal | undefined): Promise<void> {
  try {
    await delay(ms, undefined, { signal })
  } catch {
    signal!.throwIfAborted()
  }
}
