import { setTimeout as delay } from 'node:timers/promises'
import { type Static, Type } from '@sinclair/typebox'
import type { FastifyPluginAsync, FastifyReply } from 'fastify'
import fp from 'fastify-plugin'
import type { Authorize } from '../lib/authorize.ts'
import { onEntry } from '../lib/entry.ts'
import { errors } from '../lib/errors.ts'
import { counter, gauge } from '../lib/metrics.ts'
import { negotiate } from '../lib/negotiate.ts'
import { pageNonce } from '../lib/notice-page.ts'
import { type PluginInput, parseOptions } from '../lib/options.ts'
import type { Registry } from '../lib/registry.ts'
import { markPlannedOutage } from '../lib/request-tracker.ts'
import { routeConfig, useRouteConfig } from '../lib/route-config.ts'
import { createKeeper, type Keeper } from './keeper.ts'
import { maintenancePage, type RenderPage } from './page.ts'
import { addMaintenanceRoutes, type ChangeMaintenance, changesOf } from './routes.ts'
import { endOf, type MaintenanceState, type MaintenanceStore, openState, SCHEDULE } from './state.ts'
import { memoryMaintenanceStore } from './store-memory.ts'

export { maintenanceDdl } from './ddl.ts'
export type { Closure, RenderPage } from './page.ts'
export type { MaintenanceChange, MaintenanceState, MaintenanceStore, RecordChange } from './state.ts'

export const MaintenanceOptions = Type.Object(
  {
    path: Type.String({ default: '/admin/maintenance', description: 'The path of the routes for operators.' }),
    pollInterval: Type.Integer({
      default: 15_000,
      minimum: 1,
      description: 'Milliseconds between reads of the store, in case a notification is lost.'
    }),
    retryInterval: Type.Integer({
      default: 1_000,
      minimum: 1,
      description: 'Milliseconds before the store is retried after a failure.'
    }),
    bootWait: Type.Integer({
      default: 3_000,
      minimum: 0,
      description: 'Milliseconds for which the boot waits for the store before it continues as open.'
    }),
    title: Type.String({ default: 'Under maintenance', description: 'The title of the page that visitors see.' }),
    heading: Type.String({ default: 'Under maintenance', description: 'The heading of that page.' }),
    sentences: Type.Array(Type.String(), {
      default: ['This service is closed for maintenance and will be back shortly.'],
      description: 'The text of the page. The operator’s message follows the first sentence.'
    }),
    untilSentence: Type.String({
      default: 'It reopens at {until}.',
      description: 'The text of the page if the end is known; {until} is replaced by the time.'
    })
  },
  { additionalProperties: false }
)
export type MaintenanceOptions = Static<typeof MaintenanceOptions>

export interface MaintenanceDeps {
  /** Stores the state; by default, in this process. */
  store?: MaintenanceStore
  /** Who may use the routes; by default, those whom `request.principal` marks as operators. */
  authorize?: Authorize
  /** Renders the page for people, instead of `title`, `heading`, `sentences` and `untilSentence`. */
  page?: RenderPage
  registry?: Registry
}

export interface Maintenance extends Pick<Keeper, 'state' | 'set' | 'refresh'> {
  /** Makes a change for the operator who sent the request: checked, stored and audited. */
  readonly change: ChangeMaintenance
}

declare module 'fastify' {
  interface FastifyInstance {
    maintenance: Maintenance
  }
  interface FastifyContextConfig {
    /** `false` keeps this route open during maintenance. */
    maintenance?: false
  }
}

const DEPS = ['store', 'authorize', 'page', 'registry'] as const

/**
 * Closes the platform except for routes that say `maintenance: false`. While open, each request costs one comparison.
 */
const maintenance: FastifyPluginAsync<PluginInput<typeof MaintenanceOptions, MaintenanceDeps>> = async (app, input) => {
  const options = parseOptions('rhone-maintenance', MaintenanceOptions, input, DEPS)
  const store = input.store ?? memoryMaintenanceStore()
  const closed = gauge(input.registry, {
    name: 'rhone_maintenance',
    help: 'Whether the platform is in maintenance: 1 or 0.',
    aggregator: 'max'
  })
  const refused = counter(input.registry, {
    name: 'rhone_maintenance_refused_total',
    help: 'Requests refused by maintenance, which count against no objective.'
  })

  /** When the closure ends, in milliseconds since 1970: 0 while open. */
  let end = 0
  let page = pageOf(openState(null))
  closed.set(0)

  const keeper = createKeeper({
    ...options,
    store,
    log: app.log,
    onChange(state) {
      if ((end === 0) === state.enabled) app.log.warn({ maintenance: state }, state.enabled ? 'closed' : 'open again')
      end = endOf(state)
      page = pageOf(state)
      closed.set(state.enabled ? 1 : 0)
    },
    async recordReopening(tx, { until }) {
      if (!app.hasDecorator('audit')) return
      const event = { type: 'admin', action: 'reopen', resource: 'maintenance', details: { until } } as const
      await app.audit.recordSystem(tx, { ...event, actor: SCHEDULE })
    }
  })
  const change = changesOf(app, keeper)
  app.decorate('maintenance', Object.assign(keeper, { change }))
  addMaintenanceRoutes(app, options.path, { state: () => keeper.state, change }, input.authorize)

  app.addHook('onReady', () => Promise.race([keeper.check(), delay(options.bootWait, undefined, { ref: false })]))
  // Before onClose, by which time the store's database is gone.
  app.addHook('preClose', () => keeper.stop())

  useRouteConfig(app)
  onEntry(app, (request, reply) => {
    if (end === 0 || routeConfig(request).maintenance === false) return
    if (Date.now() >= end) {
      keeper.expire()
      return
    }
    refused.inc()
    markPlannedOutage(reply)
    if (negotiate(request.headers.accept, true) === 'page') return sendPage(reply)
    return errors.maintenance(retryAfter(), keeper.state.message ?? undefined)
  })

  function pageOf(state: MaintenanceState): (nonce: string) => string {
    const { page: render } = input
    const plain = maintenancePage(options, state)
    return render === undefined ? plain : nonce => render(state, nonce) ?? plain(nonce)
  }

  function retryAfter(): number {
    return Number.isFinite(end) ? Math.max(1, Math.ceil((end - Date.now()) / 1_000)) : keeper.state.retryAfter
  }

  function sendPage(reply: FastifyReply): FastifyReply {
    return reply
      .code(503)
      .headers({ 'retry-after': String(retryAfter()), 'cache-control': 'no-store' })
      .type('text/html; charset=utf-8')
      .send(page(pageNonce(app, reply)))
  }
}

export default fp(maintenance, { name: 'rhone-maintenance', fastify: '5.x' })
