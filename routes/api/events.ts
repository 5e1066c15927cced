import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import type { EventSink } from '../../plugins/event-streams/index.ts'
import { errors } from '../../plugins/lib/errors.ts'
import * as schemas from '../../schemas/events.ts'
import { appsOfUser } from '../../src/domain/apps/overview.ts'
import { callerOf } from '../lib/access.ts'
import { reads } from '../lib/policy.ts'

interface DeploymentNotice {
  readonly id: string
  readonly appId: string
  readonly status: string
}

/** Milliseconds for which the caller's apps are not read again because of an app that is not among them. */
const APPS_AGE = 2_000

/** One stream of ids for all pages of a browser: what has changed. The pages ask for it themselves. */
const events: FastifyPluginCallbackTypebox = (app, _options, done) => {
  const readers = new Set<(notice: DeploymentNotice | 'maintenance' | 'gap') => void>()
  let listening: Promise<(() => Promise<void>)[]> | undefined
  const tell = (notice: DeploymentNotice | 'maintenance' | 'gap') => readers.forEach(reader => void reader(notice))

  /** Listens from the first reader on, once for all of them. */
  function listen(): void {
    const { listen: hear } = app.postgres
    listening ??= Promise.all([
      hear(
        'rhone_deployments',
        payload => tell(JSON.parse(payload)),
        () => tell('gap')
      ),
      hear(
        'rhone_maintenance',
        () => tell('maintenance'),
        () => tell('gap')
      )
    ])
    listening.catch(error => {
      listening = undefined
      app.log.warn({ err: error }, 'pages will not hear of changes at once')
    })
  }
  app.addHook('preClose', async () => {
    for (const end of (await listening?.catch(() => [])) ?? []) await end()
  })

  app.get('/events', {
    schema: schemas.followEvents,
    config: { ...reads, access: 'authenticated', slo: 'stream' },
    handler: async (request, reply) => {
      const { userId, teamId } = callerOf(request)
      const source = (sink: EventSink, signal: AbortSignal) => follow(sink, signal, userId, teamId)
      return app.eventStreams.answer(request, reply, source, async () => {
        if ((await app.auth.identify(request)) === null) throw errors.unauthorized()
      })
    }
  })

  async function follow(
    sink: EventSink,
    signal: AbortSignal,
    userId: string,
    teamId: string | undefined
  ): Promise<void> {
    let apps = await appsOfUser(app.db, userId, teamId)
    let readAt = performance.now()

    /** An unknown app may be new; former members get no more events of the team. */
    async function isTheirs(appId: string): Promise<boolean> {
      if (performance.now() - readAt > APPS_AGE) {
        readAt = performance.now()
        apps = await appsOfUser(app.db, userId, teamId)
      }
      return apps.has(appId)
    }

    async function pass(notice: DeploymentNotice | 'maintenance' | 'gap'): Promise<void> {
      if (notice === 'maintenance') sink.offer({ event: 'maintenance', data: {} })
      else if (notice === 'gap') sink.offer({ event: 'gap', data: {} })
      else if (await isTheirs(notice.appId)) {
        sink.offer({ event: 'deployment', data: { id: notice.id, appId: notice.appId, status: notice.status } })
        sink.offer({ event: 'app', data: { id: notice.appId, teamId: apps.get(notice.appId)! } })
      }
    }
    const reader = (notice: DeploymentNotice | 'maintenance' | 'gap') =>
      void pass(notice).catch(error => app.log.debug({ err: error }, 'an event was not passed on'))

    listen()
    readers.add(reader)
    await sink.send({ event: 'connected', data: {} })
    await new Promise<void>(resolve => signal.addEventListener('abort', () => resolve(), { once: true }))
    readers.delete(reader)
  }

  done()
}

export default events
