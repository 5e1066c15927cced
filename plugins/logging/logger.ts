import { type FastifyBaseLogger, type FastifyReply, type FastifyRequest, LogController } from 'fastify'
import { type Logger, pino } from 'pino'
import { describeError } from '../lib/describe-error.ts'
import { type ChildArguments, lazyChild } from './lazy-child.ts'
import { type LogDestination, openLogDestination } from './log-destination.ts'

export interface LoggerOptions {
  /** The lowest level that is written: `trace` to `fatal`, or `silent`. */
  level: string
  /** The value of the field `service`. */
  service?: string
  /** Takes finished lines; default: stdout, asynchronous and bounded. */
  destination?: { write(line: string): void }
}

/** Fields that hold secrets or personal data wherever they appear. The keys stay, so that the omission is visible. */
const NEVER_LOGGED = ['authorization', 'body', 'cookie', 'headers', 'params', 'password', 'query', 'secret', 'token']

const kDirectLine = Symbol('rhone.direct-line')

/** Writes whole lines to the destination of one of our loggers, bypassing its serializers. */
export interface DirectLine {
  write(line: string): void
  /** The start of a line: level, time and service. */
  start(level: string): string
}

/** Logs one JSON line per call: `level`, `time`, `service`, the given fields, `msg`. */
export function createLogger({ level, service = 'rhone', destination }: LoggerOptions): Logger {
  const stream =
    destination ?? openLogDestination({ onRecovery: dropped => logger.warn({ dropped }, 'log lines were lost') })
  const time = isoTime()
  const logger = pino(
    {
      level,
      base: { service },
      timestamp: time,
      formatters: { level: label => ({ level: label }) },
      serializers: {
        err: describeError,
        error: describeError,
        req: describeRequest,
        request: describeRequest,
        res: describeReply,
        reply: describeReply,
        ...Object.fromEntries(NEVER_LOGGED.map(field => [field, () => '[redacted]']))
      }
    },
    stream
  )
  const name = JSON.stringify(service)
  const direct: DirectLine = {
    write: line => stream.write(line),
    start: label => `{"level":"${label}"${time()},"service":${name}`
  }
  const child: (...given: ChildArguments) => FastifyBaseLogger = logger.child
  return Object.assign(logger, {
    [kDirectLine]: direct,
    /**
     * Fastify derives its own log from this one as a child with serializers, and from that a child for every request.
     */
    child(this: Logger, ...[bindings, options]: ChildArguments) {
      const make = () => child.call(this, bindings, options)
      return options?.serializers === undefined ? lazyChild(make, this, options) : make()
    }
  }) as unknown as Logger
}

/** Undefined for a logger that {@link createLogger} did not create. A child has its parent's. */
export function directLineOf(logger: object): DirectLine | undefined {
  return (logger as { [kDirectLine]?: DirectLine })[kDirectLine]
}

/**
 * Writes buffered lines immediately. This happens by itself on process exit; a process that kills itself must call it.
 */
export function flushLogger(logger: Logger): void {
  const { [pino.symbols.streamSym]: stream } = logger as Logger & { [pino.symbols.streamSym]?: Partial<LogDestination> }
  stream?.flushSync?.()
}

function describeRequest({ id, method, routeOptions }: FastifyRequest) {
  return { id, method, route: routeOptions?.url }
}

function describeReply({ statusCode }: FastifyReply) {
  return { statusCode }
}

/** ISO 8601 in UTC for the price of a number: everything but the milliseconds is computed once a second. */
function isoTime(): () => string {
  let second = Number.NaN
  let head = ''
  let last = Number.NaN
  let text = ''
  return () => {
    const now = Date.now()
    if (now === last) return text
    const millisecond = now % 1000
    if (now - millisecond !== second) {
      second = now - millisecond
      head = `,"time":"${new Date(second).toISOString().slice(0, 20)}`
    }
    last = now
    text = `${head}${millisecond < 100 ? (millisecond < 10 ? '00' : '0') : ''}${millisecond}Z"`
    return text
  }
}

/** For Fastify's option `logController`: suppresses its two lines per request in favour of the logging plugin's one. */
export class OneLinePerRequest extends LogController {
  override incomingRequest(): void {}
  override requestCompleted(): void {}
  override routeNotFound(): void {}
}
