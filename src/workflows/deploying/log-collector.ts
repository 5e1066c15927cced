import { setTimeout as delay } from 'node:timers/promises'
import { sql } from 'drizzle-orm'
import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import type { DeployedApp, Deployer } from '../../../integrations/deployer/port.ts'
import { WakeSignal } from '../../domain/base/change-feed.ts'
import type { Db } from '../../domain/base/db.ts'
import { followApp } from './app-log-follower.ts'
import { whileLeading } from './leadership.ts'
import { LogBuffer } from './log-buffer.ts'

export interface LogCollectorOptions {
  readonly deployer: Deployer
  /** Milliseconds between checks for new apps; a change of a deployment triggers one earlier. */
  readonly interval?: number
}

/** Milliseconds to write the last lines when the server closes; the next leader reads them again. */
const LAST_FLUSH = 2_000

/**
 * Stores the logs of running apps. One instance collects for all, with one stream per app; if it stops, another resumes
 * where it left off.
 */
const logCollector: FastifyPluginAsync<LogCollectorOptions> = async (app, { deployer, interval = 5_000 }) => {
  const leadership = {
    target: () => app.postgres.locate(),
    onChange: (callback: () => void) => app.postgres.onCredentials(callback),
    name: 'log-collector',
    retryInterval: interval
  }
  const closing = new AbortController()
  const wake = new WakeSignal()
  let work: Promise<void> | undefined
  let unlisten: (() => Promise<void>) | undefined

  app.addHook('onReady', async () => {
    unlisten = await app.postgres.listen('rhone_deployments', wake.set, wake.set)
    work = whileLeading(leadership, closing.signal, collect)
  })
  app.addHook('onClose', async () => {
    closing.abort()
    await work
    await unlisten?.()
  })

  async function collect(signal: AbortSignal, lost: AbortSignal): Promise<void> {
    const tooLate = new AbortController()
    const buffer = new LogBuffer(app.db, app.log, AbortSignal.any([lost, tooLate.signal]))
    const context = { db: app.db, deployer, buffer, log: app.log }
    const followers = new Map<string, Follower>()
    try {
      while (!signal.aborted) {
        const heard = await talkingApps(app.db).catch(() => undefined) // Reported elsewhere.
        if (heard !== undefined) follow(followers, heard, (talking, end) => followApp(talking, context, end))
        await wake.wait(interval, signal)
      }
    } finally {
      for (const { end } of followers.values()) end.abort()
      const ended = Promise.all([...followers.values()].map(({ done }) => done))
      await Promise.race([ended.then(() => buffer.flush()), delay(LAST_FLUSH, undefined, { ref: false })])
      tooLate.abort()
      await ended
    }
  }
}

interface Follower {
  /** The app's name when following began. */
  readonly name: string
  readonly end: AbortController
  readonly done: Promise<void>
}

type TalkingApp = DeployedApp & { createdAt: Date }

/** Follows new and renamed apps, and stops following those that have gone silent for good. */
function follow(
  followers: Map<string, Follower>,
  talking: readonly TalkingApp[],
  begin: (app: TalkingApp, end: AbortSignal) => Promise<void>
): void {
  const names = new Map(talking.map(app => [app.id, nameOf(app)]))
  for (const [id, { name, end }] of followers) {
    if (names.get(id) === name) continue
    end.abort()
    followers.delete(id)
  }
  for (const app of talking) {
    if (followers.has(app.id)) continue
    const end = new AbortController()
    followers.set(app.id, { name: nameOf(app), end, done: begin(app, end.signal) })
  }
}

const nameOf = ({ slug, flyAppId }: DeployedApp) => `${slug} ${flyAppId}`

/** Apps that run, or ran until a minute ago: the last lines of a crash matter most. */
async function talkingApps(db: Db): Promise<TalkingApp[]> {
  const rows = await db.execute<{ id: string; slug: string; fly_app_id: string | null; created_at: string }>(sql`
    select id, slug, fly_app_id, created_at from apps where exists (
      select from deployments where app_id = apps.id and (
        status in ('deploying', 'live')
        or (deploy_started_at is not null and updated_at > now() - interval '1 minute')
      )
    )`)
  return rows.map(row => ({
    id: row.id,
    slug: row.slug,
    flyAppId: row.fly_app_id,
    createdAt: new Date(row.created_at)
  }))
}

export default fp(logCollector, { name: 'rhone-log-collector', fastify: '5.x' })
