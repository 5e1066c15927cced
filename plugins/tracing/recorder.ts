import type { AsyncLocalStorage } from 'node:async_hooks'
import type { Attributes } from '@opentelemetry/api'
import type { FastifyBaseLogger, FastifyReply, FastifyRequest } from 'fastify'
import { CLIENT_GONE, isPlannedOutage, routePattern } from '../lib/request-tracker.ts'
import { routeConfig } from '../lib/route-config.ts'
import type { DropReason } from '../lib/telemetry-drops.ts'
import { parseTraceparent, type TraceContext } from '../lib/trace-context.ts'
import type { JobTrace, Origin, TracedJob } from '../lib/tracing-port.ts'
import { Budget } from './budget.ts'
import { recordCalls } from './calls.ts'
import { failureOf } from './failure.ts'
import { TraceIds } from './ids.ts'
import { Pipeline, type SpanStart } from './pipeline.ts'
import { Sampling } from './sampling.ts'
import type { Trace, Work } from './work.ts'

export interface RecorderSettings {
  readonly endpoint: string
  readonly ratio: number
  readonly asked: number
  readonly afterwards: number
  readonly slow: number
  readonly interval: number
  readonly timeout: number
  readonly shutdown: number
  readonly service: string
  readonly version: string
  readonly environment: string
  readonly current: AsyncLocalStorage<Work>
  readonly drop: (reason: DropReason<'traces'>, count?: number) => void
  readonly log: FastifyBaseLogger
}

/** Minimum milliseconds between two log lines about failed exports. */
const COMPLAINT_INTERVAL = 60_000

/** Routes whose requests last as long as a client or another service decides. */
const UNTIMED: ReadonlySet<string | undefined> = new Set(['stream', 'upstream'])

/** Records the traces of one app. */
export class Recorder {
  readonly #settings: RecorderSettings
  readonly #pipeline: Pipeline
  readonly #sampling: Sampling
  readonly #afterwards: Budget
  readonly #endCalls: () => void
  #complainedAt = Number.NEGATIVE_INFINITY

  constructor(settings: RecorderSettings) {
    const { endpoint, service, version, environment, interval, timeout, ratio, asked, afterwards, drop, current } =
      settings
    const ids = new TraceIds()
    this.#settings = settings
    this.#pipeline = new Pipeline({
      endpoint: endpoint.replace(/\/+$/, ''),
      interval,
      timeout,
      ids,
      drop,
      onFailure: error => this.#complain(error),
      resource: {
        'service.name': service,
        ...(version !== '' && { 'service.version': version }),
        ...(environment !== '' && { 'deployment.environment.name': environment })
      }
    })
    this.#sampling = new Sampling({ ratio, asked, ids })
    this.#afterwards = new Budget(afterwards)
    this.#endCalls = recordCalls({ current, pipeline: this.#pipeline, ids, drop })
  }

  /** The trace of a request that has just arrived. */
  begin(request: FastifyRequest): Trace {
    const trace = this.#sampling.ofRequest(request.headers.traceparent)
    if (trace.sampled) this.#open(request, trace, trace.startedAt)
    return trace
  }

  /** Records a trace that a known caller requested. @returns whether the budget allowed it */
  grant(request: FastifyRequest, trace: Trace): boolean {
    trace.isAskedFor = false
    if (!this.#sampling.grants()) return false
    this.#open(request, trace, trace.startedAt)
    return true
  }

  /** Ends a request. A failed or slow one is recorded even now, under the ids of its log line. */
  end(request: FastifyRequest, reply: FastifyReply, trace: Trace, status: number, elapsed: number): void {
    if (trace.root === undefined) {
      if (!this.#deservesLook(request, reply, status, elapsed) || !this.#afterwards.take()) return
      this.#open(request, trace, Date.now() - elapsed)
    }
    const outcome = status === CLIENT_GONE ? { 'rhone.outcome': 'aborted' } : { 'http.response.status_code': status }
    this.#close(trace, outcome, status >= 500 ? String(status) : undefined)
  }

  job({ queue, id, attempt }: TracedJob, origin: Origin | undefined): JobTrace {
    const trace = this.#sampling.ofJob(origin?.traceparent)
    const link = parseTraceparent(origin?.traceparent)
    const attributes: Attributes = {
      'messaging.system': 'pg-boss',
      'messaging.operation.type': 'process',
      'messaging.destination.name': queue,
      'messaging.message.id': id,
      'rhone.attempt': attempt,
      ...(origin?.requestId !== undefined && { 'rhone.request_id': origin.requestId })
    }
    const open = () => {
      trace.sampled = true
      trace.root = this.#pipeline.start(rootOf(trace, { name: `process ${queue}`, kind: 'consumer', link, attributes }))
    }
    if (trace.sampled) open()
    const work: Work = { requestId: origin?.requestId, trace }
    return {
      trace,
      run: run => this.#settings.current.run(work, run),
      end: (outcome, failure) => {
        if (trace.root === undefined && failure !== undefined && this.#afterwards.take()) open()
        this.#close(trace, { 'rhone.outcome': outcome }, failure === undefined ? undefined : failureOf(failure))
      }
    }
  }

  async close(): Promise<void> {
    this.#endCalls()
    await this.#pipeline.close(this.#settings.shutdown)
  }

  #open(request: FastifyRequest, trace: Trace, startedAt: number): void {
    const route = routePattern(request)
    trace.sampled = true
    trace.root = this.#pipeline.start(
      rootOf(
        { ...trace, startedAt },
        {
          name: `${request.method} ${route}`,
          kind: 'server',
          attributes: { 'http.request.method': request.method, 'http.route': route, 'rhone.request_id': request.id }
        }
      )
    )
  }

  #close(trace: Trace, attributes: Attributes, failure: string | undefined): void {
    if (trace.root === undefined) return
    this.#pipeline.end(trace.root, attributes, failure)
    trace.root = undefined
  }

  #deservesLook(request: FastifyRequest, reply: FastifyReply, status: number, elapsed: number): boolean {
    if (status >= 500) return !(status === 503 && isPlannedOutage(reply))
    return elapsed > this.#settings.slow && !UNTIMED.has(routeConfig(request).slo)
  }

  #complain(error: Error): void {
    const now = performance.now()
    if (now - this.#complainedAt < COMPLAINT_INTERVAL) return
    this.#complainedAt = now
    this.#settings.log.warn({ err: error }, 'traces could not be delivered')
  }
}

interface Root {
  readonly name: string
  readonly kind: 'server' | 'consumer'
  readonly link?: TraceContext | undefined
  readonly attributes: Attributes
}

function rootOf({ traceId, spanId, parentId, startedAt }: Trace, root: Root): SpanStart {
  const parent = parentId === undefined ? undefined : { traceId, spanId: parentId }
  return { ...root, ids: { traceId, spanId }, parent, startTime: startedAt }
}
