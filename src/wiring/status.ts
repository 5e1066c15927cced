import type { FastifyInstance } from 'fastify'
import type { Component, Observation, StatusStore } from '../../plugins/status/index.ts'
import type { Config } from '../config/index.ts'
import { INCIDENTS_CHANNEL, incidentsSince } from '../domain/platform/incidents.ts'
import { addStatusDays, statusDaysSince } from '../domain/platform/status-history.ts'
import { has } from '../kernel/has.ts'

/* Options of the plugin that shows users the state of the service. */

export function status(config: Config, app: FastifyInstance) {
  return {
    components: components(config, app),
    ...(has(app, 'db') && { store: store(app) }),
    maintenance: () => {
      const state = app.maintenance?.state
      return state?.enabled ? { message: state.message, since: state.since, until: state.until } : null
    }
  }
}

/** The components of the service as users know them. All data is in memory. */
function components({ deployer, github, githubApp }: Config, app: FastifyInstance): Component[] {
  const api = { name: 'api', title: 'API and dashboard', check: () => stateOfApi(app) }
  const deployments = {
    name: 'deployments',
    title: 'Builds and deployments',
    check: () =>
      needs(app, ['database', 'fly'], 'Deployments do not start: a service that they need cannot be reached.')
  }
  const atGithub = {
    name: 'github',
    title: 'GitHub sign-in and pushes',
    check: () => needs(app, ['github'], 'GitHub cannot be reached; pushes will be deployed when it is back.')
  }
  return [
    api,
    ...(deployer !== null && has(app, 'db') ? [deployments] : []),
    ...(github !== null || githubApp !== null ? [atGithub] : [])
  ]
}

/** An instance that is still starting reports nothing: others may be serving. */
function stateOfApi(app: FastifyInstance): Observation {
  if (app.startup?.done === false) return { status: 'unknown' }
  const state = needs(app, ['database'], 'Most requests are refused: the database cannot be reached.')
  if (state.status !== 'operational' || app.pressure?.sustained !== true) return state
  return { status: 'degraded', note: 'The server is overloaded; some requests are refused.' }
}

function needs(app: FastifyInstance, names: readonly string[], note: string): Observation {
  const latest = app.health?.latest()
  if (latest == null) return { status: 'unknown' }
  const isDown = names.some(name => latest.services[name] === 'unhealthy')
  return isDown ? { status: 'outage', note } : { status: 'operational' }
}

function store(app: FastifyInstance): StatusStore {
  return {
    add: days => addStatusDays(app.db, days),
    async load(since) {
      const days = await statusDaysSince(app.db, since)
      const found = await incidentsSince(app.db, new Date(since))
      return { days, incidents: found.map(told) }
    },
    subscribe: onChange => app.postgres.listen(INCIDENTS_CHANNEL, onChange, onChange)
  }
}

function told({ openedAt, closedAt, updates, ...incident }: Awaited<ReturnType<typeof incidentsSince>>[number]) {
  return {
    ...incident,
    openedAt: openedAt.toISOString(),
    closedAt: closedAt?.toISOString() ?? null,
    updates: updates.map(({ at, message }) => ({ at: at.toISOString(), message }))
  }
}
