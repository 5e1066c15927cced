import {
  type Attributes,
  type Link,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  trace
} from '@opentelemetry/api'
import { type ExportResult, ExportResultCode } from '@opentelemetry/core'
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto'
import { resourceFromAttributes } from '@opentelemetry/resources'
import {
  AlwaysOnSampler,
  BatchSpanProcessor,
  type ReadableSpan,
  type SpanExporter,
  type SpanProcessor,
  TracerProvider
} from '@opentelemetry/sdk-trace'
import type { DropReason } from '../lib/telemetry-drops.ts'
import type { TraceContext } from '../lib/trace-context.ts'
import type { TraceIds } from './ids.ts'

export interface PipelineSettings {
  /** Base URL of an OTLP/HTTP receiver, without `/v1/traces`. */
  readonly endpoint: string
  readonly resource: Attributes
  /** Milliseconds between two exports. */
  readonly interval: number
  /** Milliseconds for one export, retries included. */
  readonly timeout: number
  readonly ids: TraceIds
  readonly drop: (reason: DropReason<'traces'>, count?: number) => void
  /** Called for each failed export. */
  readonly onFailure: (error: Error) => void
}

export interface SpanStart {
  readonly name: string
  readonly kind: 'server' | 'client' | 'consumer'
  /** Ids that logs already use; default: new ones. */
  readonly ids?: { readonly traceId: string; readonly spanId: string }
  readonly parent?: { readonly traceId: string; readonly spanId: string } | undefined
  readonly link?: TraceContext | undefined
  /** Milliseconds since the Unix epoch; default: now. */
  readonly startTime?: number
  readonly attributes: Attributes
}

const KINDS = { server: SpanKind.SERVER, client: SpanKind.CLIENT, consumer: SpanKind.CONSUMER } as const
const RECORDED = 1
/** Maximum spans waiting for export. */
const MAX_QUEUE = 2_048

/** Converts spans to OTLP. Every span that gets here is exported: the decision to record comes earlier. */
export class Pipeline {
  readonly #provider: TracerProvider
  readonly #tracer
  readonly #settings: PipelineSettings
  readonly #queue: CountedQueue
  #next: SpanStart['ids']

  constructor(settings: PipelineSettings) {
    const { endpoint, resource, ids, interval, timeout } = settings
    const exporter = new OTLPTraceExporter({ url: `${endpoint}/v1/traces`, timeoutMillis: timeout })
    this.#settings = settings
    this.#queue = new CountedQueue(exporter, interval, settings)
    this.#provider = new TracerProvider({
      sampler: new AlwaysOnSampler(),
      resource: resourceFromAttributes(resource),
      spanProcessors: [this.#queue],
      idGenerator: {
        generateTraceId: () => this.#next?.traceId ?? ids.trace().traceId,
        generateSpanId: () => this.#next?.spanId ?? ids.span()
      }
    })
    this.#tracer = this.#provider.getTracer('rhone')
  }

  start({ name, kind, ids, parent, link, startTime, attributes }: SpanStart): Span {
    const within = parent === undefined ? ROOT_CONTEXT : trace.setSpanContext(ROOT_CONTEXT, recorded(parent))
    const links: Link[] =
      link === undefined ? [] : [{ context: { ...recorded(link), traceFlags: Number(link.sampled) } }]
    this.#next = ids
    try {
      return this.#tracer.startSpan(
        name,
        { kind: KINDS[kind], attributes, links, ...(startTime && { startTime }) },
        within
      )
    } finally {
      this.#next = undefined
    }
  }

  /** @param failure the type or code of an error; no message, which may quote data */
  end(span: Span, attributes: Attributes, failure?: string): void {
    span.setAttributes(attributes)
    if (failure !== undefined) span.setAttribute('error.type', failure).setStatus({ code: SpanStatusCode.ERROR })
    span.end()
  }

  /** Exports the remaining spans, within `limit` milliseconds. Never rejects. */
  async close(limit: number): Promise<void> {
    const delivered = this.#provider.shutdown().catch(error => this.#settings.onFailure(error as Error))
    const { promise: late, resolve } = Promise.withResolvers<void>()
    const timer = setTimeout(resolve, limit)
    await Promise.race([delivered, late])
    clearTimeout(timer)
    this.#queue.giveUp()
  }
}

const recorded = ({ traceId, spanId }: { traceId: string; spanId: string }) => ({
  traceId,
  spanId,
  traceFlags: RECORDED,
  isRemote: true
})

/**
 * A batch processor that counts its losses: the SDK's own drops spans, including those of failed exports, without
 * notice.
 */
class CountedQueue implements SpanProcessor {
  readonly #batches: BatchSpanProcessor
  readonly #settings: PipelineSettings
  #waiting = 0
  #underway = 0
  #isClosed = false

  constructor(exporter: SpanExporter, interval: number, settings: PipelineSettings) {
    this.#settings = settings
    this.#batches = new BatchSpanProcessor({
      maxQueueSize: MAX_QUEUE,
      scheduledDelayMillis: interval,
      exportTimeoutMillis: settings.timeout + 1_000,
      exporter: {
        export: (spans, done) => this.#export(exporter, spans, done),
        forceFlush: async () => exporter.forceFlush?.(),
        shutdown: () => exporter.shutdown()
      }
    })
  }

  onStart(): void {}

  onEnd(span: ReadableSpan): void {
    if (this.#isClosed) this.#settings.drop('shutdown')
    else if (this.#waiting >= MAX_QUEUE) this.#settings.drop('queue_full')
    else {
      this.#waiting++
      this.#batches.onEnd(span)
    }
  }

  forceFlush(): Promise<void> {
    return this.#batches.forceFlush()
  }

  shutdown(): Promise<void> {
    this.#isClosed = true
    return this.#batches.shutdown()
  }

  /** Counts undelivered spans as lost. */
  giveUp(): void {
    if (this.#waiting + this.#underway > 0) this.#settings.drop('shutdown', this.#waiting + this.#underway)
    this.#waiting = 0
    this.#underway = 0
  }

  #export(exporter: SpanExporter, spans: ReadableSpan[], done: (result: ExportResult) => void): void {
    this.#waiting -= spans.length
    this.#underway += spans.length
    exporter.export(spans, result => {
      if (this.#underway >= spans.length) {
        this.#underway -= spans.length
        if (result.code !== ExportResultCode.SUCCESS) {
          this.#settings.drop('export_failed', spans.length)
          this.#settings.onFailure(result.error ?? new Error('the export failed'))
        }
      }
      done(result)
    })
  }
}
