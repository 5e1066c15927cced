import { type Static, Type } from '@sinclair/typebox'
import type { FastifyBaseLogger, FastifyInstance, FastifyPluginAsync, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { type PluginInput, parseOptions } from '../lib/options.ts'
import { CLIENT_GONE, requestTracker, routePattern } from '../lib/request-tracker.ts'
import { routeConfig } from '../lib/route-config.ts'
import { traceFields, traceOf } from '../lib/trace-context.ts'
import { lazyChildren } from './lazy-child.ts'
import { openLogDestination } from './log-destination.ts'
import { createLogger, directLineOf } from './logger.ts'
import { entryWriter } from './request-line.ts'

export { createLogger, type LoggerOptions, OneLinePerRequest } from './logger.ts'

const LEVELS = (['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const).map(level =>
  Type.Literal(level)
)

export const LoggingOptions = Type.Object(
  {
    level: Type.Union(LEVELS, {
      default: 'info',
      description: 'The lowest level that is logged, if the app has no logger.'
    }),
    service: Type.String({ default: 'rhone', description: 'The field "service", if the app has no logger.' })
  },
  { additionalProperties: false }
)
export type LoggingOptions = Static<typeof LoggingOptions>

export interface LoggingDeps {
  /** Takes finished lines instead of the app's logger. */
  destination?: { write(line: string): void }
}

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Logs the route's requests at `debug`, unless the caller is refused: for probes and scrapes. */
    log?: 'debug'
  }
}

/**
 * Logs one JSON line per request when it is over. The line names the route, not the URL: paths hold names, queries hold
 * codes and tokens. For a request that matched no route it includes the path, so that broken links can be found. Turn
 * off Fastify's own request lines with the `OneLinePerRequest` controller.
 */
const logging: FastifyPluginAsync<PluginInput<typeof LoggingOptions, LoggingDeps>> = async (app, input) => {
  const options = parseOptions('rhone-logging', LoggingOptions, input, ['destination'])
  const log = input.destination === undefined && hasLogger(app.log) ? app.log : ownLogger()

  if (hasLogger(app.log) && directLineOf(app.log) === undefined) app.setChildLoggerFactory(lazyChildren)

  const write = entryWriter(log)
  requestTracker(app).onEnd((request, _reply, status, elapsed) => {
    write(levelOf(app, request, status), {
      reqId: request.id,
      method: request.method,
      route: routePattern(request),
      path: status === 404 && request.is404 ? pathOf(request.raw.url) : undefined,
      status,
      responseTime: Math.round(elapsed * 1000) / 1000,
      address: request.clientIp?.address,
      userId: request.principal?.userId,
      userAgent: request.headers['user-agent']?.slice(0, LONGEST_USER_AGENT),
      trace: traceOf(request) ?? traceFields(request),
      outcome: status === CLIENT_GONE ? 'aborted' : undefined
    })
  })

  function ownLogger(): FastifyBaseLogger {
    const { level, service } = options
    if (input.destination !== undefined) return createLogger({ level, service, destination: input.destination })

    const destination = openLogDestination()
    app.addHook('onClose', async () => destination.close())
    return createLogger({ level, service, destination })
  }
}

function levelOf(app: FastifyInstance, request: FastifyRequest, status: number): 'debug' | 'info' | 'error' {
  const { log, maintenance } = routeConfig(request)
  if (status === 401 || status === 403) return 'info'
  const isPlanned = status === 503 && maintenance !== false && app.maintenance?.state.enabled === true
  return log ?? (status >= 500 && !isPlanned ? 'error' : 'info')
}

/** Maximum characters that are logged. */
const LONGEST_PATH = 200
const LONGEST_USER_AGENT = 200

function pathOf(url = ''): string {
  const [path = ''] = url.split('?', 1)
  return path.slice(0, LONGEST_PATH)
}

/** Without the option `logger`, Fastify's log is a set of no-op functions and has no level. */
function hasLogger(log: FastifyBaseLogger): boolean {
  return log.level !== undefined
}

export default fp(logging, { name: 'rhone-logging', fastify: '5.x' })
