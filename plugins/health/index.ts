import { type Static, Type } from '@sinclair/typebox'
import type { FastifyPluginAsync, FastifyRequest, FastifySchema, RouteShorthandOptions } from 'fastify'
import fp from 'fastify-plugin'
import { type Authorize, isAuthorized } from '../lib/authorize.ts'
import { dependencyUp } from '../lib/metrics.ts'
import { type PluginInput, parseOptions } from '../lib/options.ts'
import type { Registry } from '../lib/registry.ts'
import { singleFlight } from '../lib/single-flight.ts'
import { boundedCheck } from './bounded-check.ts'
import {
  Alive,
  Detailed,
  type HealthState,
  NotReady,
  READINESS_REASONS,
  type ReadinessReason,
  Ready,
  type ServiceState
} from './replies.ts'

export type { ReadinessReason, ServiceState }

export const HealthOptions = Type.Object(
  {
    version: Type.String({ default: 'unknown', description: 'The version shown to operators.' }),
    required: Type.Array(Type.String(), {
      default: ['database'],
      description: 'The services whose failure makes this one unhealthy, not just degraded.'
    }),
    checkTimeout: Type.Integer({
      default: 2_000,
      minimum: 1,
      description: 'Milliseconds after which a check counts as failed.'
    }),
    readyTtl: Type.Integer({
      default: 500,
      minimum: 0,
      description: 'Milliseconds for which readiness is cached, so that probes cannot overload what they check.'
    }),
    detailedTtl: Type.Integer({
      default: 15_000,
      minimum: 0,
      description: 'Milliseconds for which the state of the services is cached.'
    })
  },
  { additionalProperties: false }
)
export type HealthOptions = Static<typeof HealthOptions>

export interface HealthDeps {
  registry?: Registry
  /** Keyed by the reason reported when the check does not hold. */
  readiness?: Readonly<Partial<Record<ReadinessReason, () => boolean | Promise<boolean>>>>
  services?: Readonly<Record<string, () => ServiceState | Promise<ServiceState>>>
  /** Who sees more than the status; default: no caller. A failing check counts as no. */
  authorize?: Authorize
  /** Which copy of the database is nearest, if there are several; by default `/ready` does not say. */
  role?: () => 'primary' | 'replica'
  /** More about this instance, for operators. */
  describe?: () => Readonly<Record<string, string | number | boolean>>
}

type Services = Readonly<Record<string, ServiceState>>

export interface Health {
  /** The services as last checked; null before the first time. */
  latest(): { readonly timestamp: string; readonly services: Services } | null
}

declare module 'fastify' {
  interface FastifyInstance {
    health: Health
  }
}

/** Minimum milliseconds between background checks of the services. */
const MIN_CHECK_INTERVAL = 1_000

const ALIVE = Buffer.from('{"status":"ok"}')

/**
 * Three probes. Liveness: the process answers; nothing else is checked, since a restart repairs no dependency.
 * Readiness: nothing that requests need is missing. Detailed health: the state of each dependency, for operators.
 */
const health: FastifyPluginAsync<PluginInput<typeof HealthOptions, HealthDeps>> = async (app, input) => {
  const { version, required, checkTimeout, readyTtl, detailedTtl } = parseOptions(
    'rhone-health',
    HealthOptions,
    input,
    ['registry', 'readiness', 'services', 'authorize', 'role', 'describe']
  )
  const { role, readiness = {}, services = {}, authorize = () => false, describe = () => ({}) } = input
  const isUp = dependencyUp(input.registry)

  const readinessChecks = READINESS_REASONS.filter(reason => readiness[reason] !== undefined).map(
    reason => [reason, boundedCheck(readiness[reason]!, checkTimeout, false)] as const
  )
  const serviceChecks = Object.entries(services).map(
    ([service, check]) => [service, boundedCheck<ServiceState>(check, checkTimeout, 'unhealthy')] as const
  )

  const reasonsAgainst = singleFlight(readyTtl, async () => {
    const holds = await Promise.all(readinessChecks.map(([, check]) => check()))
    return readinessChecks.map(([reason]) => reason).filter((_reason, index) => !holds[index])
  })

  let latest: ReturnType<Health['latest']> = null
  const stateOfServices = singleFlight(detailedTtl, async () => {
    const timestamp = new Date().toISOString()
    const states = await Promise.all(serviceChecks.map(async ([service, check]) => [service, await check()] as const))
    for (const [service, state] of states)
      if (state !== 'not_configured') isUp.labels(service).set(state === 'healthy' ? 1 : 0)
    latest = { timestamp, services: Object.fromEntries(states) as Services }
    return latest
  })

  app.decorate('health', { latest: () => latest })

  // Keeps the gauges and `latest()` current when no client asks.
  let timer: NodeJS.Timeout | undefined
  app.addHook('onReady', async () => {
    if (serviceChecks.length > 0)
      timer = setInterval(() => void stateOfServices(), Math.max(detailedTtl, MIN_CHECK_INTERVAL)).unref()
  })
  app.addHook('onClose', async () => clearInterval(timer))

  app.get('/health', probe('getHealth', 'Check that the process is alive', { 200: Alive }), (_request, reply) => {
    reply.type('application/json; charset=utf-8').send(ALIVE)
  })

  app.get(
    '/ready',
    probe('getReadiness', 'Check that this instance is ready for requests', { 200: Ready, 503: NotReady }),
    async (_request, reply) => {
      const reasons = await reasonsAgainst()
      if (reasons.length === 0) return role === undefined ? { status: 'ready' } : { status: 'ready', role: role() }
      return reply.code(503).send({ status: 'not_ready', reasons })
    }
  )

  app.get(
    '/health/detailed',
    limited(probe('getDetailedHealth', 'Get the health of all services', { 200: Detailed, 503: Detailed })),
    async (request, reply) => {
      const { timestamp, services } = await stateOfServices()
      const status = overall(services)
      reply.code(status === 'unhealthy' ? 503 : 200)
      if (!(await mayKnowMore(request))) return { status }
      return { status, timestamp, version, services, instance: describeInstance() }
    }
  )

  /** Operators look here when the database is down, and their identity may be stored in that database. */
  async function mayKnowMore(request: FastifyRequest): Promise<boolean> {
    try {
      return await isAuthorized(authorize, request)
    } catch (error) {
      request.log.debug({ err: error }, 'the caller could not be identified as an operator')
      return false
    }
  }

  function overall(states: Services): HealthState {
    const down = Object.keys(states).filter(service => states[service] === 'unhealthy')
    if (down.some(service => required.includes(service))) return 'unhealthy'
    return down.length > 0 ? 'degraded' : 'ok'
  }

  function describeInstance() {
    const { rss, heapUsed } = process.memoryUsage()
    return { uptime: Math.round(process.uptime()), node: process.version, rss, heapUsed, ...describe() }
  }
}

/** Probes bypass everything that may refuse a request, because they are used to diagnose it. */
function probe(
  operationId: string,
  summary: string,
  response: NonNullable<FastifySchema['response']>
): RouteShorthandOptions {
  return {
    config: {
      access: 'public',
      cors: false,
      rateClass: false,
      priority: 'probe',
      maintenance: false,
      log: 'debug',
      slo: 'health'
    },
    schema: { operationId, summary, tags: ['health'], response }
  }
}

/** No orchestrator calls this, and it authenticates callers: without a limit, it could be used to try tokens. */
function limited({ config, ...options }: RouteShorthandOptions): RouteShorthandOptions {
  return { ...options, config: { ...config, rateClass: 'general' } }
}

export default fp(health, { name: 'rhone-health', fastify: '5.x' })
