import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import type { FastifyRequest } from 'fastify'
import type { EventSink } from '../../plugins/event-streams/index.ts'
import * as schemas from '../../schemas/events.ts'
import { AUTH_CHANNEL } from '../../src/domain/accounts/tokens.ts'
import { APPS_CHANNEL } from '../../src/domain/apps/notices.ts'
import { appsOfUser } from '../../src/domain/apps/overview.ts'
import { callerOf } from '../lib/access.ts'
import { appHealth } from '../lib/app-health.ts'
import { reads } from '../lib/policy.ts'

interface DeploymentNotice {
  readonly id: string
  readonly appId: string
  readonly status: string
}

/** A change that may concern readers; `changed` is the id of a session, a token or a user, `app` that of an app. */
type Change = DeploymentNotice | 'maintenance' | 'gap' | { readonly changed: string } | { readonly app: string }

/** Milliseconds during which an event of an unknown app does not reread the caller's apps. */
const APPS_AGE = 2_000

interface Leave {
  /** Whether the reader has been signed out. */
  readonly isOut: () => Promise<boolean>
  /** Settled when the sign-out is noticed; the stream reports it and ends. */
  readonly signedOut: PromiseWithResolvers<void>
}

/** One stream per browser with the ids of changed objects. Its pages then request what they need. */
const events: FastifyPluginCallbackTypebox = (app, _options, done) => {
  const readers = new Set<(change: Change) => void>()
  let watching: { stop(): void } | undefined
  let listening: Promise<(() => Promise<void>)[]> | undefined
  const tell = (change: Change) => readers.forEach(reader => void reader(change))

  /** Listens once for all readers, starting with the first. */
  function listen(): void {
    const { listen: hear } = app.postgres
    listening ??= Promise.all([
      hear(
        'rhone_deployments',
        payload => tell(JSON.parse(payload)),
        () => tell('gap')
      ),
      hear(
        APPS_CHANNEL,
        changed => tell({ app: changed }),
        () => tell('gap')
      ),
      hear(
        'rhone_maintenance',
        () => tell('maintenance'),
        () => tell('gap')
      ),
      // A missed event is made up for by the next check of a reader's access.
      hear(
        AUTH_CHANNEL,
        changed => tell({ changed }),
        () => {}
      )
    ])
    listening.catch(error => {
      listening = undefined
      app.log.warn({ err: error }, 'open pages are not updated immediately')
    })
  }
  app.addHook('preClose', async () => {
    watching?.stop()
    for (const end of (await listening?.catch(() => [])) ?? []) await end()
  })

  app.get('/events', {
    schema: schemas.followEvents,
    config: { ...reads, access: 'authenticated', slo: 'stream' },
    handler: async (request, reply) => {
      const signedOut = Promise.withResolvers<void>()
      const isOut = async () => (await app.auth.identify(request)) === null
      const source = (sink: EventSink, signal: AbortSignal) => follow(request, sink, signal, { isOut, signedOut })
      return app.eventStreams.answer(request, reply, source, async () => {
        if (await isOut()) signedOut.resolve()
      })
    }
  })

  async function follow(request: FastifyRequest, sink: EventSink, signal: AbortSignal, { isOut, signedOut }: Leave) {
    const { userId, teamId, credentialId } = callerOf(request)
    let apps = await appsOfUser(app.db, userId, teamId)
    let readAt = performance.now()

    /** An unknown app may be new; former members get no more of the team's events. */
    async function isTheirs(appId: string): Promise<boolean> {
      if (performance.now() - readAt > APPS_AGE) {
        readAt = performance.now()
        apps = await appsOfUser(app.db, userId, teamId)
      }
      return apps.has(appId)
    }

    async function pass(change: Change): Promise<void> {
      if (change === 'maintenance' || change === 'gap') sink.offer({ event: change, data: {} })
      else if ('changed' in change) {
        if (change.changed !== credentialId && change.changed !== userId) return
        app.auth.forget(change.changed)
        if (await isOut()) signedOut.resolve()
      } else if ('app' in change) {
        if (await isTheirs(change.app))
          sink.offer({ event: 'app', data: { id: change.app, teamId: apps.get(change.app)! } })
      } else if (await isTheirs(change.appId)) {
        sink.offer({ event: 'deployment', data: { id: change.id, appId: change.appId, status: change.status } })
        sink.offer({ event: 'app', data: { id: change.appId, teamId: apps.get(change.appId)! } })
      }
    }
    const reader = (change: Change) =>
      void pass(change).catch(error => app.log.debug({ err: error }, 'an event could not be forwarded'))

    listen()
    readers.add(reader)
    // Checks only while there are readers.
    watching ??= appHealth(app).watch(changed => tell({ app: changed }))
    try {
      await sink.send({ event: 'connected', data: {} })
      const left = new Promise<void>(resolve => signal.addEventListener('abort', () => resolve(), { once: true }))
      await Promise.race([left, signedOut.promise])
      if (!signal.aborted) await sink.send({ event: 'signed-out', data: {} })
    } finally {
      readers.delete(reader)
      if (readers.size === 0) {
        watching?.stop()
        watching = undefined
      }
    }
  }

  done()
}

export default events
