import { setTimeout as delay } from 'node:timers/promises'
import { Value } from '@sinclair/typebox/value'
import { Breaker } from './remote/breaker.ts'
import { RemoteError } from './remote/error.ts'
import { Exchange, type Outgoing } from './remote/exchange.ts'
import { measure, type RemoteTrace } from './remote/measure.ts'
import type { Remote, RemoteRequest, RemoteSettings } from './remote/port.ts'
import { pauseBefore, RetryBudget, retryAfterOf } from './remote/retries.ts'
import { encode, headersOf, otherForm, parseBody, read } from './remote/wire.ts'

export type { Remote, RemoteCall, RemoteSettings } from './remote/port.ts'
export { RemoteError, type RemoteTrace }

const IDEMPOTENT: ReadonlySet<string> = new Set(['GET', 'HEAD', 'PUT', 'DELETE'])

/**
 * A client for another service; this server makes all outgoing calls through it. Every call has a time limit,
 * idempotent calls are retried within a budget, and a circuit breaker pauses calls to a failing service.
 */
export function createRemote(settings: RemoteSettings): Remote {
  const { service, baseUrl, retries = 2, backoff = 200, maxBytes = 10_000_000 } = settings
  const measured = measure(settings.registry, service)
  const breaker = new Breaker({ failures: 10, pause: 5_000, ...settings.breaker }, measured.circuit)
  const budget = new RetryBudget()
  const { headers } = settings
  const common = typeof headers === 'function' ? headers : () => headers

  /** Makes attempts until one succeeds or a retry makes no sense. */
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
    const headers = headersOf(trace, type, common(), request.headers, trace.headers)
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
