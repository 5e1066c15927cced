import { type Static, Type } from '@sinclair/typebox'
import type { FastifyPluginAsync, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { counter } from './lib/metrics.ts'
import { type PluginInput, parseOptions } from './lib/options.ts'
import type { Registry } from './lib/registry.ts'
import { CLIENT_GONE, isPlannedOutage, requestTracker } from './lib/request-tracker.ts'
import { routeConfig } from './lib/route-config.ts'

const threshold = (milliseconds: number, what: string) =>
  Type.Integer({ default: milliseconds, minimum: 1, description: `Milliseconds above which ${what} is slow.` })

export const ObjectivesOptions = Type.Object(
  {
    health: threshold(50, 'a probe'),
    list: threshold(100, 'a list'),
    detail: threshold(50, 'a single resource'),
    write: threshold(200, 'a change'),
    search: threshold(200, 'a search')
  },
  { additionalProperties: false }
)
export type ObjectivesOptions = Static<typeof ObjectivesOptions>

/** Service level classes with an objective; the other routes (streams, calls to other services) have none. */
export const OBJECTIVE_CLASSES = ['health', 'list', 'detail', 'write', 'search'] as const
export type ObjectiveClass = (typeof OBJECTIVE_CLASSES)[number]

/**
 * The outcome of a request. `error`: a 5xx reply, load shedding included. `slow`: no error, but above the threshold of
 * its class. `gone`: the client left first. `maintenance` and `limited` (429) are planned, so they cost no budget.
 */
export const OUTCOMES = ['good', 'slow', 'error', 'maintenance', 'limited', 'gone'] as const
export type RequestOutcome = (typeof OUTCOMES)[number]

export type Tally = Readonly<Record<RequestOutcome, number>>

export interface ObjectivesDeps {
  registry?: Registry
}

export interface Objectives {
  /** Requests by outcome since the start. */
  readonly counts: Readonly<Record<ObjectiveClass, Tally>>
}

interface Objective {
  readonly threshold: number
  readonly tally: Record<RequestOutcome, number>
}

const kObjective = Symbol('rhone.objective')

declare module 'fastify' {
  interface FastifyInstance {
    objectives: Objectives
  }
  interface FastifyContextConfig {
    [kObjective]?: Objective
  }
}

/**
 * Decides for every request whether it met the objective of its class. Bad requests divided by all valid ones (`good`,
 * `slow` and `error`) give the error budget, without joining series or guessing from buckets. All series exist from the
 * start, because `rate()` cannot see the event that creates one.
 */
const objectives: FastifyPluginAsync<PluginInput<typeof ObjectivesOptions, ObjectivesDeps>> = async (app, input) => {
  const thresholds = parseOptions('rhone-objectives', ObjectivesOptions, input, ['registry'])
  const byClass = Object.fromEntries(
    OBJECTIVE_CLASSES.map(name => [name, { threshold: thresholds[name], tally: emptyTally() }])
  ) as Record<ObjectiveClass, Objective>
  const counts = Object.fromEntries(OBJECTIVE_CLASSES.map(name => [name, byClass[name].tally]))
  app.decorate('objectives', { counts: counts as Objectives['counts'] })

  counter(input.registry, {
    name: 'rhone_slo_requests_total',
    help: 'Requests by service level class and by whether they kept its objective.',
    labelNames: ['slo', 'outcome'],
    collect() {
      this.reset()
      for (const [slo, tally] of Object.entries(counts))
        for (const outcome of OUTCOMES) this.inc({ slo, outcome }, tally[outcome])
    }
  })

  app.addHook('onRoute', route => {
    const objective = byClass[route.config?.slo as ObjectiveClass]
    if (objective !== undefined) route.config = { ...route.config, [kObjective]: objective }
  })
  requestTracker(app).onEnd((request, reply, status, elapsed) => {
    const objective = objectiveOf(request)
    if (objective === undefined) return
    if (status === 503 && isPlannedOutage(reply)) objective.tally.maintenance++
    else objective.tally[outcomeOf(status, elapsed, objective.threshold)]++
  })

  /** Routes added before this plugin are found by their class. */
  function objectiveOf(request: FastifyRequest): Objective | undefined {
    const { [kObjective]: bound, slo } = routeConfig(request)
    return bound ?? byClass[slo as ObjectiveClass]
  }
}

function outcomeOf(status: number, elapsed: number, threshold: number): RequestOutcome {
  if (status >= 500) return 'error'
  if (status === CLIENT_GONE) return 'gone'
  if (status === 429) return 'limited'
  return elapsed > threshold ? 'slow' : 'good'
}

function emptyTally(): Record<RequestOutcome, number> {
  return { good: 0, slow: 0, error: 0, maintenance: 0, limited: 0, gone: 0 }
}

export default fp(objectives, { name: 'rhone-objectives', fastify: '5.x' })
