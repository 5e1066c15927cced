import { sql } from 'drizzle-orm'
import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import type { Chore } from '../../../plugins/chores.ts'
import type { Reading } from '../../../plugins/gauges.ts'
import { acquireLock, type ExclusiveLock } from '../../../plugins/lib/exclusive-lock.ts'
import { type Audience, type Notice, notify } from '../backups/notify.ts'
import { backlogExceeded, discardBacklog } from './ship.ts'
import { type ArchiveState, bytesWaiting, readState, waitingFiles } from './state.ts'

export interface ArchiveOptions {
  /** Stores the waiting files, in a process of its own. */
  run: (signal: AbortSignal) => Promise<ArchiveState>
  /** PostgreSQL puts segments into `wal` below it. */
  directory: string
  /** Maximum bytes waiting for the storage. */
  limit: number
  /** Notified when the archive breaks off, and when a new one begins. */
  audience: Audience
}

export interface Archive {
  readonly chores: readonly Chore[]
  readonly readings: readonly Reading[]
}

declare module 'fastify' {
  interface FastifyInstance {
    archive: Archive
  }
}

/** Milliseconds between two runs. Together with PostgreSQL's archive timeout, less than a minute. */
const EVERY = 5_000
/** Milliseconds before a failed run is repeated. */
const PAUSE = 30_000

/** Archives the embedded database's log, so that the database can be recovered to any instant. */
const archive: FastifyPluginAsync<ArchiveOptions> = async (app, options) => {
  const { directory, limit } = options
  const closing = new AbortController()
  let lock: ExclusiveLock | null = null
  let running: { readonly done: Promise<void>; readonly abort: AbortController } | undefined
  let notBefore = 0

  async function tell(outcome: Notice['outcome'], text: string): Promise<void> {
    await notify(options.audience, { event: 'archive', outcome, text }, (variable, err) =>
      app.log.error({ err, event: 'archive' }, `the notification to ${variable} failed`)
    )
  }

  /** The previous run, possibly of an earlier process, has recorded whether recovery is broken. */
  async function compared(before: ArchiveState, after: ArchiveState): Promise<void> {
    if (after.broken !== null && before.broken === null) {
      app.log.error({ why: after.broken.why }, 'the database archive has a gap: a new base backup will start')
      await tell('failure', `The archive has a gap: ${after.broken.why}`)
    } else if (after.base?.id !== undefined && after.base.id !== before.base?.id) {
      app.log.info({ base: after.base.id }, 'a base backup was created')
      if (before.broken !== null) await tell('success', `The archive continues with base backup ${after.base.id}`)
    }
  }

  async function attempt(signal: AbortSignal): Promise<void> {
    const before = await readState(directory)
    try {
      await options.run(signal)
      notBefore = 0
    } catch (error) {
      if (signal.aborted) return
      if (notBefore === 0) app.log.error({ err: error }, 'the database WAL could not be archived')
      notBefore = performance.now() + PAUSE
    }
    await compared(before, await readState(directory))
  }

  function start(): void {
    const abort = new AbortController()
    const done = attempt(AbortSignal.any([abort.signal, closing.signal])).finally(() => {
      running = undefined
    })
    done.catch(error => app.log.error({ err: error }, 'the state of the archive could not be read'))
    running = { done, abort }
  }

  /** Keeps the waiting files within their limit, however long the storage takes. */
  async function guard(): Promise<void> {
    if ((await bytesWaiting(directory)) <= limit) return
    running?.abort.abort()
    await running?.done.catch(() => {}) // reported by itself
    const before = await readState(directory)
    await compared(before, await discardBacklog(directory, backlogExceeded(limit)))
  }

  async function isAnythingToDo(): Promise<boolean> {
    const { stream, base } = await readState(directory)
    return stream === null || base === null || (await bytesWaiting(directory)) > 0
  }

  async function look(): Promise<void> {
    // One instance archives; another takes over when it has stopped.
    lock ??= await acquireLock(`${directory}/lock`)
    if (lock === null) return
    await guard()
    if (running === undefined && performance.now() >= notBefore && (await isAnythingToDo())) start()
  }

  app.decorate<Archive>('archive', {
    chores: [{ name: 'archive', every: EVERY, run: look }],
    readings: [
      {
        name: 'rhone_archive_delay_seconds',
        help: 'Age of the oldest WAL segment that is not archived yet; 0 if there is none.',
        read: async () => {
          const waiting = [...(await waitingFiles(directory)).map(({ since }) => since), ...(await unarchived(app))]
          return Math.max(0, ...waiting.map(since => (Date.now() - since.getTime()) / 1_000))
        }
      },
      {
        name: 'rhone_archive_waiting_bytes',
        help: 'Size of the WAL segments that are not archived yet.',
        read: () => bytesWaiting(directory)
      },
      {
        name: 'rhone_archive_recoverable',
        help: '1: the database can be recovered to any point in time up to now; 0: there is a gap, or no base backup.',
        read: async () =>
          Number((await readState(directory)).broken === null && (await readState(directory)).stream !== null)
      },
      {
        name: 'rhone_archive_base_timestamp_seconds',
        help: 'When the latest base backup completed; 0 if there is none.',
        read: async () => Date.parse((await readState(directory)).base?.finishedAt ?? '1970-01-01') / 1_000
      }
    ]
  })
  app.addHook('onClose', async () => {
    closing.abort()
    await running?.done.catch(() => {}) // reported by itself
    lock?.release()
  })
}

/** When the segments were finished that PostgreSQL itself has failed to archive. */
async function unarchived(app: Parameters<typeof archive>[0]): Promise<Date[]> {
  const rows = await app.db.execute<{ since: string }>(
    sql`select min(modification)::text as since from pg_ls_archive_statusdir() where name like '%.ready' having count(*) > 0`
  )
  return rows.map(({ since }) => new Date(since))
}

export default fp(archive, { name: 'rhone-archive', fastify: '5.x', decorators: { fastify: ['db'] } })
