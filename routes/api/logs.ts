import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import type { FastifyRequest } from 'fastify'
import { errors } from '../../plugins/lib/errors.ts'
import { preferred } from '../../plugins/lib/negotiate.ts'
import * as schemas from '../../schemas/logs.ts'
import { listAppLogs } from '../../src/domain/apps/logs.ts'
import { parseInstant } from '../../src/domain/base/instant.ts'
import { plainText } from '../../src/domain/base/log-text.ts'
import { listBuildLog, readProgress, textOfBuildLog } from '../../src/domain/deployments/build-logs.ts'
import { PERMISSIONS } from '../../src/domain/teams/access.ts'
import { appOf } from '../lib/access.ts'
import { appMetrics } from '../lib/app-metrics.ts'
import { logStreams } from '../lib/log-streams.ts'
import { reads } from '../lib/policy.ts'
import { sendText } from '../lib/stream.ts'

const viewing = { ...reads, access: PERMISSIONS.viewApps } as const

/** Logs and metrics of apps. */
export const appLogs: FastifyPluginCallbackTypebox = (app, _options, done) => {
  const metricsOf = appMetrics(app)

  app.get('/apps/:app/logs', {
    schema: schemas.listAppLogs,
    config: { ...viewing, slo: 'search' },
    handler: async request => {
      const { id } = await appOf(app, app.postgres.reads, request)
      const { limit, cursor, since, until, ...filters } = request.query
      const period = {
        ...(since !== undefined && { since: parseInstant('since', since) }),
        ...(until !== undefined && { until: parseInstant('until', until) })
      }
      const { items, nextCursor } = await listAppLogs(
        app.postgres.reads,
        id,
        { ...filters, ...period },
        { limit, cursor }
      )
      return { items: items.map(line => ({ ...line, message: plainText(line.message) })), nextCursor }
    }
  })

  app.get('/apps/:app/metrics', {
    schema: schemas.getAppMetrics,
    config: { ...viewing, slo: 'upstream' },
    handler: async request => {
      const { instances, ...metrics } = await metricsOf((await appOf(app, app.postgres.reads, request)).id)
      return { ...metrics, instances: [...instances] }
    }
  })

  done()
}

/** Live logs of deployments and running apps. */
export const liveLogs: FastifyPluginCallbackTypebox = (app, _options, done) => {
  const streams = logStreams(app)

  app.get('/apps/:app/deployments/:id/logs', {
    schema: schemas.getBuildLog,
    config: { ...viewing, slo: 'stream' },
    handler: async (request, reply) => {
      const { id: appId } = await appOf(app, app.db, request)
      const { id } = request.params
      await readProgress(app.db, appId, id)
      switch (preferred(request.headers.accept, ['text/event-stream', 'application/json', 'text/plain'])) {
        case 'application/json':
          return listBuildLog(app.db, id, request.query)
        case 'text/plain':
          return sendText(reply, 'text/plain; charset=utf-8', textOfBuildLog(app.db, id))
        default: {
          const source = streams.ofDeployment(appId, id, startOf(request) ?? 0)
          return app.eventStreams.answer(request, reply, source, () => checkAgain(request))
        }
      }
    }
  })

  app.get('/apps/:app/logs/live', {
    schema: schemas.followAppLogs,
    config: { ...viewing, slo: 'stream' },
    handler: async (request, reply) => {
      const { id } = await appOf(app, app.db, request)
      const source = streams.ofApp(id, startOf(request), request.query.colours !== undefined)
      return app.eventStreams.answer(request, reply, source, () => checkAgain(request))
    }
  })

  /** Repeated while a stream is open: meanwhile the credential may be revoked, or the reader removed from the team. */
  async function checkAgain(request: AppRequest): Promise<void> {
    if ((await app.auth.identify(request)) === null) throw errors.unauthorized()
    await appOf(app, app.db, request)
  }

  done()
}

type AppRequest = FastifyRequest<{ Params: { app: string } }>

/** The event to continue after: the last one the client has seen, or the requested starting point. */
function startOf({ headers, query }: FastifyRequest): number | undefined {
  const last = headers['last-event-id']
  if (typeof last === 'string' && /^\d{1,15}$/.test(last)) return Number(last)
  return (query as { after?: number }).after
}
