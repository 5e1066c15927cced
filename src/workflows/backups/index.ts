import { createHash } from 'node:crypto'
import { sql } from 'drizzle-orm'
import type { FastifyInstance, FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { type Db, installation } from '../../../drizzle/schema.ts'
import type { Storage } from '../../../integrations/storage/index.ts'
import type { Chore } from '../../../plugins/chores.ts'
import type { Reading } from '../../../plugins/gauges.ts'
import type { JobContext, JobQueue } from '../../../plugins/jobs/index.ts'
import { singleFlight } from '../../../plugins/lib/single-flight.ts'
import type { Config } from '../../config/index.ts'
import { type Backup, type DescriptorCache, isVerified, listBackups } from './catalogue.ts'
import { type Drill, lastDrill } from './drill.ts'
import type { Descriptor } from './manifest.ts'
import { type Audience, type Notice, notify } from './notify.ts'
import { pruneBackups } from './retention.ts'

/** Does the heavy work outside the server process. */
export interface BackupRunner {
  create(signal: AbortSignal): Promise<Descriptor>
  drill(signal: AbortSignal): Promise<Drill>
}

/** The latest time of a schedule at or before `now`. */
export type LatestTime = (schedule: string, now: Date) => Date | null

export interface BackupsOptions {
  config: Config
  runner: BackupRunner
  latestTime: LatestTime
  /** Whether this server can make backups that others cannot read. */
  canCreate: boolean
  /** Whether it can open them, for drills. */
  canOpen: boolean
  /** Notified of each backup and drill. */
  audience: Audience
}

export interface Backups {
  /** The backups of this database, newest first. */
  list(): Promise<Backup[]>
  /** The latest successful drill of this database. */
  lastDrill(): Promise<Drill | null>
  /**
   * Requests a backup, which one instance makes soon.
   * @returns the job's id; null if a waiting job covers this one too
   */
  request(tx: Db, trigger: Trigger): Promise<string | null>
  readonly queues: readonly JobQueue[]
  readonly chores: readonly Chore[]
  readonly readings: readonly Reading[]
}

type Trigger = 'operator' | 'schedule'

declare module 'fastify' {
  interface FastifyInstance {
    backups: Backups
  }
}

const BACKUP_QUEUE = 'backup'
const DRILL_QUEUE = 'restore-drill'
const MINUTE = 60_000
/** Milliseconds for which the storage's contents are cached. */
const KNOWN_FOR = 5 * MINUTE
const HOUR = 3_600

interface Known {
  readonly backups: readonly Backup[]
  readonly drill: Drill | null
}

/** Makes backups by schedule and on request, runs restore drills, and reports the age of the latest of each. */
const backups: FastifyPluginAsync<BackupsOptions> = async (app, options) => {
  const { config, runner, latestTime } = options
  const { storage } = app
  if (storage === null) throw new Error('backups need a storage')
  const { schedule, drillSchedule, keep } = config.backups
  const cache: DescriptorCache = new Map()
  const look = singleFlight(0, () => readStorage(app, storage, cache))
  let known: Known | undefined
  let staleAt = 0

  async function refresh(): Promise<Known> {
    if (known !== undefined && performance.now() < staleAt) return known
    known = await look()
    staleAt = performance.now() + KNOWN_FOR
    return known
  }
  /** Shows what was just done at the next scrape, rather than when the cache expires. */
  async function reread(): Promise<void> {
    staleAt = 0
    await refresh().catch(error => app.log.warn({ err: error }, 'the backups could not be listed'))
  }
  const latest = () => known?.backups.find(isVerified)?.descriptor

  async function work(event: Notice['event'], run: () => Promise<Pick<Notice, 'text' | 'details'>>, job: JobContext) {
    try {
      const done = await run()
      await tell({ event, outcome: 'success', ...done })
    } catch (error) {
      if (!job.signal.aborted)
        await tell({ event, outcome: 'failure', text: `The ${event} has failed: ${(error as Error).message}` })
      throw error
    }
  }

  /** A failed notification is only logged: the work itself is done. */
  async function tell(notice: Notice): Promise<void> {
    await notify(options.audience, notice, (variable, err) =>
      app.log.error({ err, event: notice.event }, `the notification to ${variable} failed`)
    )
  }

  async function create({ signal, log }: JobContext) {
    const made = await runner.create(signal)
    log.info({ backup: made.id, rows: made.rows, bytes: made.data.bytes }, 'a backup was made')
    await reread()
    await prune(made.installation, signal)
    return { text: `Backup ${made.id}: ${made.rows} rows, ${made.data.bytes} bytes`, details: { ...made } }
  }

  /** Credentials without the right to delete are a good choice: then the bucket's own rules remove what is old. */
  async function prune(identity: string, signal: AbortSignal): Promise<void> {
    try {
      const { removed } = await pruneBackups(storage!, identity, keep, signal)
      if (removed.length > 0) app.log.info({ removed }, 'old backups were removed')
    } catch (error) {
      app.log.warn({ err: error }, 'old backups could not be removed')
    }
  }

  async function drill({ signal, log }: JobContext) {
    const done = await runner.drill(signal)
    log.info({ ...done }, 'a restore was practised')
    await reread()
    const text = `Drill of backup ${done.backup}: ${done.rows} rows in ${done.rtoSeconds.toFixed(1)} s`
    return { text, details: { ...done } }
  }

  const startOf = onceKnown(() => databaseAge(app))
  /** Sends the job for a schedule's latest time, unless the work has been done since, or the database is newer. */
  async function sendDue(queue: string, cron: string | null, last: Date | undefined): Promise<void> {
    const due = cron === null ? null : latestTime(cron, new Date())
    if (due === null || due <= (await startOf()) || (last !== undefined && last >= due)) return
    await app.jobs.send(null, queue, { trigger: 'schedule' satisfies Trigger }, { id: idFor(queue, due) })
  }

  const seconds = (date: string | undefined) => (date === undefined ? 0 : Date.parse(date) / 1_000)
  const reading = (name: string, help: string, read: () => number): Reading => ({
    name,
    help,
    async read() {
      if (known === undefined) await refresh()
      return read()
    }
  })

  app.decorate<Backups>('backups', {
    list: async () => [...(await readStorage(app, storage, cache)).backups],
    lastDrill: async () => (await refresh()).drill,
    request: (tx, trigger) => app.jobs.send(tx, BACKUP_QUEUE, { trigger }),
    queues: [
      {
        name: BACKUP_QUEUE,
        concurrency: 1,
        timeout: 6 * HOUR,
        retries: 3,
        retryDelay: 60,
        coalesced: true,
        run: (_data, job) => work('backup', () => create(job), job)
      },
      {
        name: DRILL_QUEUE,
        concurrency: 1,
        timeout: 6 * HOUR,
        retries: 1,
        retryDelay: 600,
        coalesced: true,
        run: (_data, job) => work('drill', () => drill(job), job)
      }
    ],
    chores: [
      {
        name: 'backups',
        every: MINUTE,
        async run() {
          const { drill } = await refresh()
          const taken = latest()?.takenAt
          if (options.canCreate) await sendDue(BACKUP_QUEUE, schedule, taken === undefined ? taken : new Date(taken))
          if (options.canOpen && taken !== undefined)
            await sendDue(DRILL_QUEUE, drillSchedule, drill === null ? undefined : new Date(drill.startedAt))
        }
      }
    ],
    readings: [
      reading(
        'rhone_backup_last_success_timestamp_seconds',
        'When the latest backup of this database was complete; 0: never.',
        () => seconds(latest()?.finishedAt)
      ),
      reading(
        'rhone_backup_last_size_bytes',
        'Size of the latest backup as it is stored.',
        () => (latest()?.data.bytes ?? 0) + (latest()?.keys.bytes ?? 0)
      ),
      reading(
        'rhone_restore_drill_last_success_timestamp_seconds',
        'When a restore of this database was last practised with success; 0: never.',
        () => seconds(known?.drill?.startedAt)
      ),
      reading(
        'rhone_restore_drill_duration_seconds',
        'How long the restore of the latest drill took, checks included: the recovery time.',
        () => known?.drill?.rtoSeconds ?? 0
      ),
      reading(
        'rhone_restore_drill_data_loss_seconds',
        'How old the latest backup was at the latest drill: the recovery point.',
        () => known?.drill?.rpoSeconds ?? 0
      )
    ]
  })
  app.addHook('onReady', async () => {
    if (!options.canCreate && schedule !== null) app.log.warn('BACKUP_RECIPIENTS is not set: no backups are made')
  })
}

async function readStorage(app: FastifyInstance, storage: Storage, cache: DescriptorCache): Promise<Known> {
  const [row] = await app.db.select({ identity: installation.identity }).from(installation)
  if (row === undefined) return { backups: [], drill: null }
  const all = await listBackups(storage, cache)
  return {
    backups: all.filter(backup => backup.installation === row.identity),
    drill: await lastDrill(storage, row.identity)
  }
}

/** When the first migration was applied. A new database is first backed up at the next scheduled time. */
async function databaseAge(app: FastifyInstance): Promise<Date> {
  const [row] = await app.db.execute<{ at: string }>(
    sql`select min(applied_at)::text as at from schema_migrations where idx = 0`
  )
  return row === undefined ? new Date() : new Date(row.at)
}

function onceKnown<Value>(read: () => Promise<Value>): () => Promise<Value> {
  let value: Value | undefined
  return async () => (value ??= await read())
}

/** The same on all instances, so that only one job per scheduled time is accepted. */
function idFor(queue: string, time: Date): string {
  const hex = createHash('sha256').update(`${queue} ${time.toISOString()}`).digest('hex')
  return hex.slice(0, 32).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
}

export default fp(backups, {
  name: 'rhone-backups',
  fastify: '5.x',
  decorators: { fastify: ['db', 'storage'] }
})
