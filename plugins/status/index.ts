import { type Static, Type } from '@sinclair/typebox'
import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { type PluginInput, parseOptions } from '../lib/options.ts'
import { dayOf, History, lastDays } from './history.ts'
import type { Component, Incident, Observation, StatusStore } from './port.ts'
import { daysOf, effective, overall, type PlannedMaintenance, type StatusReport, summaryOf } from './report.ts'

export type { Severity, Status, StatusDay } from './port.ts'
export type { ComponentReport, DayReport } from './report.ts'
export type { Component, Incident, Observation, PlannedMaintenance, StatusReport, StatusStore }

export const StatusOptions = Type.Object(
  {
    sampleInterval: Type.Integer({
      default: 15_000,
      minimum: 1,
      description: 'Milliseconds between checks of the components.'
    }),
    days: Type.Integer({ default: 30, minimum: 1, maximum: 90, description: 'Days of history, today included.' })
  },
  { additionalProperties: false }
)
export type StatusOptions = Static<typeof StatusOptions>

export interface StatusDeps {
  components?: readonly Component[]
  /** By default, the history is this process's own, and there are no incidents. */
  store?: StatusStore
  /** The current closure; null while open. Answers from memory. */
  maintenance?: () => PlannedMaintenance | null
}

export interface ServiceStatus {
  /** The state of the service, from memory alone. */
  report(): StatusReport
  /** Stores the observations, and reads those of other instances and the operators' incidents. */
  sync(): Promise<void>
}

declare module 'fastify' {
  interface FastifyInstance {
    status: ServiceStatus
  }
}

const UNKNOWN: Observation = { status: 'unknown' }

/**
 * The state of the service for its users: components, planned maintenance, incidents, and the previous days. A report
 * uses only what is in memory, so it also works while the database is down.
 * Nothing observes the time in which no instance runs; an external probe does.
 */
const status: FastifyPluginAsync<PluginInput<typeof StatusOptions, StatusDeps>> = async (app, input) => {
  const { sampleInterval, days } = parseOptions('rhone-status', StatusOptions, input, [
    'components',
    'store',
    'maintenance'
  ])
  const { components = [], store, maintenance = () => null } = input
  const history = new History(days)
  const seen = new Map<string, Observation>()
  let incidents: Incident[] = []
  let checkedAt: number | null = null
  let sampledAt = performance.now()

  function sample(): void {
    const now = performance.now()
    // After the machine was suspended, the state in between is unknown.
    const seconds = Math.min(now - sampledAt, 2 * sampleInterval) / 1_000
    sampledAt = now
    checkedAt = Date.now()
    for (const { name, check } of components) {
      const observation = check()
      seen.set(name, observation)
      const { status } = effective(name, observation, incidents, maintenance() !== null)
      if (status !== 'unknown') history.note(dayOf(checkedAt), name, status, seconds)
    }
  }

  function report(): StatusReport {
    const closure = maintenance()
    const now = Date.now()
    const reports = components.map(({ name, title }) => ({
      name,
      title,
      ...effective(name, seen.get(name) ?? UNKNOWN, incidents, closure !== null),
      ...daysOf(history, name, days, now)
    }))
    const status = overall(
      reports.map(component => component.status),
      incidents,
      closure !== null
    )
    return {
      status,
      summary: summaryOf(status),
      checkedAt: checkedAt === null ? null : new Date(checkedAt).toISOString(),
      components: reports,
      maintenance: closure,
      incidents
    }
  }

  /** One after the other: a read must see a write entirely or not at all. */
  let turn: Promise<void> = Promise.resolve()
  function inTurn(work: (store: StatusStore) => Promise<void>): Promise<void> {
    if (store === undefined) return turn
    const next = turn.then(() => work(store))
    turn = next.catch(() => {})
    return next
  }

  const write = (to: StatusStore) => history.write(found => to.add(found))

  async function load(from: StatusStore): Promise<void> {
    const found = await from.load(lastDays(days, Date.now())[0]!)
    history.adopt(found.days)
    incidents = [...found.incidents]
  }

  async function sync(): Promise<void> {
    await inTurn(write)
    await inTurn(load)
  }

  let timer: NodeJS.Timeout | undefined
  let unsubscribe: (() => Promise<void>) | undefined
  app.decorate('status', { report, sync })
  app.addHook('onReady', async () => {
    sampledAt = performance.now()
    sample()
    timer = setInterval(sample, sampleInterval).unref()
    unsubscribe = await store?.subscribe(() => {
      inTurn(load).catch(error => app.log.warn({ err: error }, 'status: continuing with the last known incidents'))
    })
  })
  app.addHook('onClose', async () => {
    clearInterval(timer)
    await unsubscribe?.()
    await inTurn(write).catch(error => app.log.warn({ err: error }, 'status: the last observations are lost'))
  })
}

export default fp(status, { name: 'rhone-status', fastify: '5.x' })
