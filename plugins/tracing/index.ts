import { AsyncLocalStorage } from 'node:async_hooks'
import { type Static, Type } from '@sinclair/typebox'
import type { FastifyInstance, FastifyPluginAsync, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { onEntry } from '../lib/entry.ts'
import { type PluginInput, parseOptions } from '../lib/options.ts'
import { loadPackages } from '../lib/packages.ts'
import type { Registry } from '../lib/registry.ts'
import { requestTracker } from '../lib/request-tracker.ts'
import { routeConfig, useRouteConfig } from '../lib/route-config.ts'
import { type DropReason, dropCounter } from '../lib/telemetry-drops.ts'
import { formatTraceparent, setTrace, traceOf, useTraces } from '../lib/trace-context.ts'
import type { Tracing } from '../lib/tracing-port.ts'
import type { Recorder } from './recorder.ts'
import type { Trace, Work } from './work.ts'

export type * from '../lib/tracing-port.ts'

export const TracingOptions = Type.Object(
  {
    endpoint: Type.String({
      default: '',
      description: 'Base URL of an OTLP/HTTP receiver, such as http://127.0.0.1:4318. Empty: nothing is recorded.'
    }),
    ratio: Type.Number({ default: 0.1, minimum: 0, maximum: 1, description: 'Share of traces to record.' }),
    asked: Type.Integer({
      default: 5,
      minimum: 0,
      description: 'Traces per second recorded for authenticated callers that ask for it, in addition to the ratio.'
    }),
    afterwards: Type.Integer({
      default: 5,
      minimum: 0,
      description: 'Failed or slow requests per second recorded at their end, in addition to the ratio.'
    }),
    slow: Type.Integer({ default: 1_000, minimum: 1, description: 'Milliseconds above which a request is slow.' }),
    interval: Type.Integer({ default: 5_000, minimum: 1, description: 'Milliseconds between two exports.' }),
    timeout: Type.Integer({ default: 5_000, minimum: 1, description: 'Timeout of an export, in milliseconds.' }),
    shutdown: Type.Integer({
      default: 2_000,
      minimum: 0,
      description: 'Milliseconds for which app.close() waits for the last export.'
    }),
    service: Type.String({ default: 'rhone', minLength: 1, description: 'The service name in spans.' }),
    version: Type.String({ default: '', description: 'Its version.' }),
    environment: Type.String({ default: '', description: 'Its environment, such as production.' })
  },
  { additionalProperties: false }
)
export type TracingOptions = Static<typeof TracingOptions>

export interface TracingDeps {
  /** The app's own if absent: traces begin before metrics are registered. */
  registry?: Registry
  /** Whether a caller may request a recording; default: any signed-in caller. Called once the request was read. */
  trusts?: MayRecord
}

/** Decides only about recording, never about access. Synchronous, because a hook calls it. */
export type MayRecord = (request: FastifyRequest) => boolean

declare module 'fastify' {
  interface FastifyInstance {
    tracing: Tracing
  }
}

const kWork = Symbol('rhone.work')
type Working = FastifyRequest & { [kWork]: Work | undefined }

const PACKAGES = [
  '@opentelemetry/api',
  '@opentelemetry/core',
  '@opentelemetry/exporter-trace-otlp-proto',
  '@opentelemetry/resources',
  '@opentelemetry/sdk-trace'
]

/**
 * Records requests, jobs and their calls as OpenTelemetry traces, and gives every request a place in a trace.
 * Unrecorded requests have ids and nothing else: no span, and no asynchronous context unless the request may send a job
 * or call a service, which are then told their origin. OpenTelemetry is loaded only if there is an endpoint.
 */
const tracing: FastifyPluginAsync<PluginInput<typeof TracingOptions, TracingDeps>> = async (app, input) => {
  const options = parseOptions('rhone-tracing', TracingOptions, input, ['registry', 'trusts'])
  const { trusts = hasSignedIn } = input
  const current = new AsyncLocalStorage<Work>()
  const drops = countDrops(app, input.registry)
  const recorder = options.endpoint === '' ? undefined : await openRecorder(app, options, current, drops)

  useRouteConfig(app)
  useTraces(app)
  app.decorateRequest(kWork, undefined)
  app.decorate('tracing', {
    origin: () => originOf(current.getStore()),
    job: (job, origin) => (recorder === undefined ? withoutTrace(current, origin) : recorder.job(job, origin))
  })

  onEntry(app, request => {
    const trace = recorder?.begin(request)
    if (trace !== undefined) setTrace(request, trace)
    if (trace?.sampled !== true && !leadsElsewhere(request)) return undefined
    const work: Work = { requestId: request.id, trace }
    ;(request as Working)[kWork] = work
    return resume => current.run(work, resume, undefined)
  })

  // Reading a body loses the asynchronous context, and the caller is known only after the entry hooks.
  app.addHook('onRoute', route => {
    if (isForAll(route.method) && route.config?.access === 'public') return
    route.preValidation = [resumeWork, ...[route.preValidation ?? []].flat()]
  })

  function resumeWork(request: FastifyRequest, _reply: unknown, done: () => void): void {
    const trace = traceOf(request) as Trace | undefined
    if (trace?.isAskedFor === true && trusts(request) && recorder!.grant(request, trace))
      (request as Working)[kWork] ??= { requestId: request.id, trace }
    const work = (request as Working)[kWork]
    if (work === undefined) done()
    else current.run(work, done)
  }

  if (recorder === undefined) return
  requestTracker(app).onEnd((request, reply, status, elapsed) => {
    const trace = traceOf(request) as Trace | undefined
    if (trace !== undefined) recorder.end(request, reply, trace, status, elapsed)
  })
  app.addHook('onClose', () => recorder.close())
}

async function openRecorder(
  app: FastifyInstance,
  options: TracingOptions,
  current: AsyncLocalStorage<Work>,
  drop: (reason: DropReason<'traces'>, count?: number) => void
): Promise<Recorder> {
  if (!/^https?:\/\/[^\s]+$/.test(options.endpoint))
    throw new Error(`rhone-tracing: option "endpoint" must be an http or https URL, such as http://127.0.0.1:4318`)
  const { Recorder } = await loadPackages('rhone-tracing', PACKAGES, () => import('./recorder.ts'))
  return new Recorder({ ...options, current, drop, log: app.log })
}

/** Metrics may be registered later; drops before that are not worth a series. */
function countDrops(app: FastifyInstance, registry: Registry | undefined) {
  let drop = dropCounter(registry, 'traces')
  if (registry === undefined)
    app.addHook('onReady', done => {
      if (app.hasDecorator('metrics')) drop = dropCounter(app.metrics.registry, 'traces')
      done()
    })
  return (reason: DropReason<'traces'>, count?: number) => drop(reason, count)
}

/** Whether a request may send a job, or call another service. */
function leadsElsewhere(request: FastifyRequest): boolean {
  return !isForAll(request.method) || routeConfig(request).slo === 'upstream'
}

/** Whether a method only reads. */
const isForAll = (method: string | string[]): boolean => method === 'GET' || method === 'HEAD' || method === 'OPTIONS'

const hasSignedIn = (request: FastifyRequest): boolean => request.principal != null

function originOf(work: Work | undefined) {
  if (work === undefined) return undefined
  return { requestId: work.requestId, traceparent: work.trace && formatTraceparent(work.trace) }
}

/** Passes on the request that a job came from, for the logs, when there are no traces. */
function withoutTrace(current: AsyncLocalStorage<Work>, origin: ReturnType<Tracing['origin']>) {
  const work: Work = { requestId: origin?.requestId, trace: undefined }
  return { trace: undefined, run: <T>(run: () => Promise<T>) => current.run(work, run), end: () => {} }
}

export default fp(tracing, { name: 'rhone-tracing', fastify: '5.x' })
