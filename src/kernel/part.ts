import type { FastifyInstance } from 'fastify'
import type { Chore } from '../../plugins/chores.ts'
import type { Failure } from '../../plugins/errors/index.ts'
import type { Reading } from '../../plugins/gauges.ts'
import type { ServiceState } from '../../plugins/health/index.ts'
import type { JobQueue } from '../../plugins/jobs/index.ts'
import type { Config } from '../config/index.ts'

/** What a part of the server can add to lists that plugins keep. */
export interface Contributions {
  /** Work done by jobs. */
  queues: JobQueue
  /** Periodic work. */
  chores: Chore
  /** Platform facts that are read at each scrape. */
  gauges: Reading
  /** The individual checks shown by `/health/detailed`. */
  services: ServiceCheck
  /** Called for every server error; must not block. */
  errorSinks: (failure: Failure) => void
  /** Runs before requests are served, in the order of the parts. */
  startSteps: StartStep
}

export interface ServiceCheck {
  readonly name: string
  readonly check: () => ServiceState | Promise<ServiceState>
}

export interface StartStep {
  readonly name: string
  readonly run: () => Promise<unknown>
}

/**
 * A part of the server that is not a plugin: a workflow, or an area of the domain. It contributes to lists and is
 * called once per kind, when the plugin that keeps the list is registered. Queues, chores, gauges and start steps are
 * requested only if there is a database.
 */
export type Part = { readonly name: string } & {
  readonly [Kind in keyof Contributions]?: Contributor<Kind>
}

/**
 * Everything of one kind that the parts contribute, in their order.
 *
 * @throws Error when two contributions have the same name
 */
export function collect<Kind extends keyof Contributions>(
  parts: readonly Part[],
  kind: Kind,
  config: Config,
  app: FastifyInstance
): Contributions[Kind][] {
  const found = parts.flatMap(part => contributionsOf(part, kind)?.(config, app) ?? [])
  const names = found.map(({ name }) => name)
  const twice = kind === 'errorSinks' ? undefined : names.find((name, index) => names.indexOf(name) < index)
  if (twice !== undefined) throw new Error(`two parts contribute "${twice}" to ${kind}`)
  return found
}

type Contributor<Kind extends keyof Contributions> = (
  config: Config,
  app: FastifyInstance
) => readonly Contributions[Kind][]

function contributionsOf<Kind extends keyof Contributions>(part: Part, kind: Kind): Contributor<Kind> | undefined {
  return part[kind] as Contributor<Kind> | undefined
}
