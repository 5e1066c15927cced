import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import { AppError } from '../../plugins/lib/errors.ts'
import * as schemas from '../../schemas/pages.ts'
import { type AppLogFilters, listAppLogs } from '../../src/domain/apps/logs.ts'
import { deploymentsAhead, namesOf, overviewApp, type RecentDeployment } from '../../src/domain/apps/overview.ts'
import { pendingChanges } from '../../src/domain/apps/pending-changes.ts'
import { readBuildLog } from '../../src/domain/deployments/build-logs.ts'
import {
  type Deployment,
  findDeployment,
  imagesInUse,
  listDeployments
} from '../../src/domain/deployments/deployments.ts'
import { isActive } from '../../src/domain/deployments/lifecycle.ts'
import { type App, PERMISSIONS } from '../../src/domain/teams/access.ts'
import { deploymentPage } from '../../views/apps/deployment.ts'
import { deploymentListPage } from '../../views/apps/deployments.ts'
import { logPage } from '../../views/apps/logs.ts'
import { type AppFigures, appPage } from '../../views/apps/overview.ts'
import type { Measured } from '../../views/apps/state.ts'
import { appOf } from '../lib/access.ts'
import { appHealth, withHealth } from '../lib/app-health.ts'
import { appMetrics } from '../lib/app-metrics.ts'
import type { AppRoutesOptions } from '../lib/apps.ts'
import { changes } from '../lib/change.ts'
import { type DeploymentRoutesOptions, deploymentActions, deploymentAudit, deploys } from '../lib/deploying.ts'
import { leadingTo } from '../lib/forms.ts'
import { sendPage } from '../lib/page.ts'
import { forms, pages } from '../lib/policy.ts'

export interface AppPagesOptions extends AppRoutesOptions, DeploymentRoutesOptions {}

const RECENT = 5
const ERRORS = 5
const PAGE = 50
/** Lines shown when a log opens. */
const LINES = 1_000
/** Chunks of a build log per read, and the maximum shown; the download has the earlier ones. */
const CHUNKS = 200
const SPANS = { '15m': 15 * 60_000, '1h': 3_600_000, '24h': 86_400_000 } as const

const viewing = { ...pages, access: PERMISSIONS.viewApps } as const

/** An app, its deployments and its logs. */
const oneApp: FastifyPluginCallbackTypebox<AppPagesOptions> = (app, options, done) => {
  const change = changes(app)
  const metricsOf = appMetrics(app)
  const { rollback, cancel } = deploymentActions(app, options)
  const health = appHealth(app)
  const canDeploy = options.ledger !== null
  const frameOf = (found: App) => ({ app: found, url: options.urlOf(found) })

  app.get('/apps/:app', {
    schema: schemas.appPage,
    config: viewing,
    handler: async (request, reply) => {
      const found = await appOf(app, app.postgres.reads, request)
      const [[overview], recent, pending, metrics, errors] = await Promise.all([
        overviewApp(app.postgres.reads, found.id).then(overview => withHealth(app, [overview])),
        listDeployments(app.postgres.reads, found.id, { limit: RECENT }),
        pendingChanges(app.postgres.reads, found),
        figuresOf(found.id),
        listAppLogs(app.postgres.reads, found.id, { level: 'error' }, { limit: ERRORS })
      ])
      const page = { ...frameOf(found), overview: overview!, pending, metrics, errors: errors.items, canDeploy }
      return sendPage(
        app,
        request,
        reply,
        appPage({ ...page, recent: await glimpses(found, recent.items) }),
        found.teamId
      )
    }
  })

  app.get('/apps/:app/deployments', {
    schema: schemas.deploymentList,
    config: { ...viewing, slo: 'list' },
    handler: async (request, reply) => {
      const { cursor } = request.query
      const found = await appOf(app, app.postgres.reads, request)
      const { items, nextCursor } = await listDeployments(app.postgres.reads, found.id, {
        limit: PAGE,
        ...(cursor && { cursor })
      })
      const list = { ...frameOf(found), items: await glimpses(found, items), next: nextCursor, cursor }
      return sendPage(app, request, reply, deploymentListPage(list), found.teamId)
    }
  })

  app.get('/apps/:app/deployments/:id', {
    schema: schemas.deploymentPage,
    config: viewing,
    handler: async (request, reply) => {
      const found = await appOf(app, app.postgres.reads, request)
      const deployment = await findDeployment(app.postgres.reads, found.id, request.params.id)
      const [names, ahead, kept, { lines, after }, hasEnded] = await Promise.all([
        namesOf(app.postgres.reads, [deployment.triggeredBy]),
        deployment.status === 'pending' ? deploymentsAhead(app.postgres.reads, deployment) : null,
        deployment.status === 'superseded' ? imagesInUse(app.postgres.reads, found.id) : ([] as string[]),
        buildLines(deployment.id),
        isDown(deployment)
      ])
      const page = {
        ...frameOf(found),
        deployment,
        isDown: hasEnded,
        by: names.get(deployment.triggeredBy ?? '') ?? null,
        lines,
        after: isActive(deployment.status) ? after : null,
        ahead,
        canRollBack: deployment.image !== null && kept.includes(deployment.image)
      }
      return sendPage(app, request, reply, deploymentPage(page), found.teamId)
    }
  })

  app.post('/apps/:app/deployments/:id/cancel', {
    schema: schemas.submitCancel,
    config: { ...forms, ...deploys, audit: deploymentAudit('cancel') },
    handler: (request, reply) =>
      change(request, reply, async tx => {
        const ended = await cancel(tx, request)
        return leadingTo(`/apps/${ended.app.slug}/deployments/${ended.deployment.id}?done=cancelled`, ended)
      })
  })

  app.post('/apps/:app/rollback', {
    schema: schemas.submitRollback,
    config: { ...forms, ...deploys, audit: deploymentAudit('rollback') },
    handler: (request, reply) =>
      change(request, reply, async tx => {
        const begun = await rollback(tx, request, request.body.deployment)
        return leadingTo(`/apps/${begun.app.slug}/deployments/${begun.deployment.id}?done=rolled-back`, begun)
      })
  })

  app.get('/apps/:app/logs', {
    schema: schemas.logPage,
    config: { ...viewing, slo: 'search' },
    handler: async (request, reply) => {
      const { search = '', level = '', since = '', cursor } = request.query
      const found = await appOf(app, app.postgres.reads, request)
      const filters: AppLogFilters = {
        ...(search !== '' && { search }),
        ...(level !== '' && { level }),
        ...(since !== '' && { since: new Date(Date.now() - SPANS[since]) })
      }
      const { items, nextCursor } = await listAppLogs(app.postgres.reads, found.id, filters, {
        limit: LINES,
        ...(cursor && { cursor })
      })
      const isFiltered = search !== '' || level !== '' || since !== '' || cursor !== undefined
      const shown = { lines: items.toReversed(), next: nextCursor, isFiltered, search, level, since }
      return sendPage(app, request, reply, logPage({ ...frameOf(found), ...shown }), found.teamId)
    }
  })

  /** Null if unavailable: a page does not fail because its app's machines do not answer. */
  async function figuresOf(appId: string): Promise<AppFigures | null> {
    try {
      return await metricsOf(appId)
    } catch (error) {
      if (error instanceof AppError) return null
      throw error
    }
  }

  const isDown = async ({ id, status }: Deployment) => status === 'live' && (await health.answers(id)) === false

  async function glimpses({ name, slug }: App, items: readonly Deployment[]): Promise<Measured<RecentDeployment>[]> {
    const triggeredBy = items.map(item => item.triggeredBy)
    const [names, down] = await Promise.all([namesOf(app.db, triggeredBy), Promise.all(items.map(isDown))])
    return items.map(({ createdAt, updatedAt, triggeredBy, ...item }, at) => ({
      ...item,
      isDown: down[at]!,
      by: names.get(triggeredBy ?? '') ?? null,
      createdAt: createdAt.toISOString(),
      updatedAt: updatedAt.toISOString(),
      app: { name, slug }
    }))
  }

  /** The last lines of a build with their numbers, and the chunk that they end with. */
  async function buildLines(id: string) {
    let text = ''
    let after = 0
    for (let isMore = true; isMore; ) {
      const chunks = await readBuildLog(app.db, id, after, CHUNKS)
      for (const chunk of chunks) text += chunk.text
      after = chunks.at(-1)?.seq ?? after
      isMore = chunks.length === CHUNKS
    }
    const all = text.endsWith('\n') ? text.slice(0, -1).split('\n') : text.split('\n')
    const from = Math.max(0, all.length - LINES)
    const lines = text === '' ? [] : all.slice(from).map((line, at) => ({ id: from + at + 1, text: line }))
    return { lines, after }
  }

  done()
}

export default oneApp
