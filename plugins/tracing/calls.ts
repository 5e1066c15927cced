import type { AsyncLocalStorage } from 'node:async_hooks'
import { type TracingChannel, tracingChannel } from 'node:diagnostics_channel'
import type { Attributes, Span } from '@opentelemetry/api'
import type { RemoteTrace } from '../lib/remote/measure.ts'
import type { DropReason } from '../lib/telemetry-drops.ts'
import { formatTraceparent } from '../lib/trace-context.ts'
import { failureOf } from './failure.ts'
import type { TraceIds } from './ids.ts'
import type { Pipeline } from './pipeline.ts'
import type { Trace, Work } from './work.ts'

/** Maximum calls recorded per trace, so that one trace cannot fill the queue. */
const MAX_CALLS = 200

export interface CallSettings {
  readonly current: AsyncLocalStorage<Work>
  readonly pipeline: Pipeline
  readonly ids: TraceIds
  readonly drop: (reason: DropReason<'traces'>) => void
}

interface Call {
  readonly name: string
  readonly attributes: Attributes
}

/** The fields of a channel's messages after a failed call. */
interface Failed {
  readonly error?: unknown
}

/** A kind of call: its name and attributes, and its result when it is over. */
interface CallKind<Message extends object> {
  readonly channel: string
  begin(message: Message): Call
  end?(message: Message): Attributes
  /** Also called for calls that are not recorded. */
  passOn?(message: Message, trace: Trace, spanId: string): void
}

const database: CallKind<{ kind: string }> = {
  channel: 'rhone.db',
  begin: ({ kind }) => ({ name: kind, attributes: { 'db.system.name': 'postgresql', 'db.operation.name': kind } })
}

const redis: CallKind<{ command: string }> = {
  channel: 'ioredis:command',
  begin: ({ command }) => ({ name: command, attributes: { 'db.system.name': 'redis', 'db.operation.name': command } })
}

const remote: CallKind<RemoteTrace> = {
  channel: 'rhone.remote',
  begin: ({ service, operation, method, attempt }) => ({
    name: `${service} ${operation}`,
    attributes: {
      'service.peer.name': service,
      'rhone.operation': operation,
      'http.request.method': method,
      ...(attempt > 1 && { 'http.request.resend_count': attempt - 1 })
    }
  }),
  end: ({ status }) => (status === undefined ? {} : { 'http.response.status_code': status }),
  passOn(message, { traceId, sampled }, spanId) {
    message.headers.traceparent = formatTraceparent({ traceId, spanId, sampled })
  }
}

/**
 * Records the calls of requests and jobs: SQL statements, Redis commands and calls to other services. They arrive on
 * diagnostics channels, so nothing is patched, and the callers know nothing of traces.
 * @returns a function that stops recording
 */
export function recordCalls(settings: CallSettings): () => void {
  const ends = [record(database, settings), record(redis, settings), record(remote, settings)]
  return () => {
    for (const end of ends) end()
  }
}

function record<Message extends object>(
  { channel: name, begin, end, passOn }: CallKind<Message>,
  { current, pipeline, ids, drop }: CallSettings
): () => void {
  const channel: TracingChannel<unknown, Message> = tracingChannel(name)
  const spans = new WeakMap<Message, Span>()

  function start(message: Message): void {
    const trace = current.getStore()?.trace
    if (trace === undefined) return
    const spanId = open(message, trace) ?? trace.spanId
    passOn?.(message, trace, spanId)
  }

  /** @returns the id of the call's span; undefined if it is not recorded */
  function open(message: Message, trace: Trace): string | undefined {
    if (trace.root === undefined) return undefined
    if (++trace.calls > MAX_CALLS) {
      drop('limit')
      return undefined
    }
    const spanIds = { traceId: trace.traceId, spanId: ids.span() }
    spans.set(message, pipeline.start({ ...begin(message), kind: 'client', ids: spanIds, parent: trace }))
    return spanIds.spanId
  }

  function finish(message: Message): void {
    const span = spans.get(message)
    if (span === undefined) return
    spans.delete(message)
    pipeline.end(span, end?.(message) ?? {}, 'error' in message ? failureOf((message as Failed).error) : undefined)
  }

  const subscribers = {
    start,
    /** Only a call that failed at once is over here. */
    end: (message: Message) => void ('error' in message && finish(message)),
    asyncStart: () => {},
    asyncEnd: finish,
    error: () => {}
  }
  channel.subscribe(subscribers as Parameters<typeof channel.subscribe>[0])
  return () => channel.unsubscribe(subscribers as Parameters<typeof channel.unsubscribe>[0])
}
