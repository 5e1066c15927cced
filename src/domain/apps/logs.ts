import { and, asc, desc, eq, gt, gte, ilike, lt, max, sql } from 'drizzle-orm'
import { appLogs, LOG_LEVELS } from '../../../drizzle/schema.ts'
import { type Db, repeatableRead } from '../base/db.ts'
import { colouredText, cutColoured, cutText, plainText } from '../base/log-text.ts'
import { cutPage, invalidCursor, type Page, type PageRequest, parseNameCursor } from '../base/page.ts'

/** NOTIFY channel; the payload is the id of an app with new log lines. */
export const APP_LOG_CHANNEL = 'rhone_app_log'

export type LogLevel = (typeof LOG_LEVELS)[number]

/** Lines kept per app. */
const KEPT_LINES = 10_000
const LONGEST_MESSAGE = 16_384
/** Length limit for a raw message, which may still contain terminal sequences. */
const LONGEST_WRITTEN = 4 * LONGEST_MESSAGE
const TRIM_BATCH = 5_000
const DEFAULT_LIMIT = 100

/** A log line of an app, as the runtime reports it. */
export interface NewAppLog {
  readonly appId: string
  readonly deploymentId: string | null
  readonly at: Date
  readonly level: LogLevel
  readonly source: 'app' | 'system'
  readonly region: string | null
  readonly instance: string | null
  readonly message: string
}

/**
 * Stores lines and notifies readers. Lines of deleted apps are dropped. Writers are serialized, so that ids become
 * visible in order: a reader that has seen one id has seen all lower ones.
 */
export async function insertAppLogs(db: Db, lines: readonly NewAppLog[]): Promise<void> {
  if (lines.length === 0) return
  const rows = JSON.stringify(lines.map(tidied))
  await db.transaction(async tx => {
    await tx.execute(sql`select pg_advisory_xact_lock(hashtext('rhone.app-logs'))`)
    await tx.execute(sql`
      with added as (
        insert into app_logs (app_id, deployment_id, at, level, source, region, instance, message)
        select line.app_id, line.deployment_id, line.at, line.level, line.source, line.region, line.instance, line.message
        from rows from (
          json_to_recordset(${rows}::text::json) as (
            app_id uuid, deployment_id uuid, at timestamptz, level text, source text, region text, instance text, message text
          )
        ) with ordinality as line
        join apps on apps.id = line.app_id
        order by line.ordinality
        returning app_id
      )
      select pg_notify(${APP_LOG_CHANNEL}, app_id::text) from (select distinct app_id from added) as apps`)
  })
}

function tidied({ appId, deploymentId, at, level, source, region, instance, message }: NewAppLog) {
  return {
    app_id: appId,
    deployment_id: deploymentId,
    at,
    level: LOG_LEVELS.includes(level) ? level : 'info',
    source: source === 'system' ? source : 'app',
    region: region && cutText(plainText(region), 10),
    instance: tidyInstance(instance),
    message: tidyMessage(message)
  }
}

const tidyInstance = (instance: string | null) => instance && cutText(plainText(instance), 64)

function tidyMessage(message: string): string {
  const text = withoutLastBreaks(colouredText(message.slice(0, LONGEST_WRITTEN)))
  return text.length > LONGEST_MESSAGE ? `${cutColoured(text, LONGEST_MESSAGE - 1)}…` : text
}

/** A regular expression would take quadratic time on long runs of line breaks. */
function withoutLastBreaks(text: string): string {
  let end = text.length
  while (text[end - 1] === '\n') end--
  return text.slice(0, end)
}

/**
 * Removes all but the newest lines of an app, in small batches.
 *
 * @returns the number of removed lines
 */
export async function trimAppLogs(db: Db, appId: string, kept = KEPT_LINES): Promise<number> {
  let total = 0
  for (let removed = TRIM_BATCH; removed === TRIM_BATCH; total += removed) {
    const rows = await db.execute(sql`
      delete from app_logs where id in (
        select id from app_logs where app_id = ${appId} order by id desc limit ${TRIM_BATCH} offset ${kept}
      ) returning 1`)
    removed = rows.length
  }
  return total
}

const shown = {
  id: appLogs.id,
  deploymentId: appLogs.deploymentId,
  at: appLogs.at,
  level: appLogs.level,
  source: appLogs.source,
  region: appLogs.region,
  instance: appLogs.instance,
  message: appLogs.message
}

export interface AppLogFilters {
  /** Inclusive. */
  since?: Date
  /** Exclusive. */
  until?: Date
  level?: LogLevel
  /** Substring of the message, ignoring case. */
  search?: string
}

/** Most lines have no colours, and checking is cheaper than replacing. */
const WITHOUT_COLOURS = sql`case when strpos(${appLogs.message}, E'\\x1b') = 0 then ${appLogs.message}
  else regexp_replace(${appLogs.message}, E'\\x1b\\\\[[0-9;]*m', '', 'g') end`

const newestLines = repeatableRead(db =>
  db
    .select(shown)
    .from(appLogs)
    .where(eq(appLogs.appId, sql.placeholder('app')))
    .orderBy(desc(appLogs.id))
    .limit(sql.placeholder('limit'))
    .prepare('newest_app_logs')
)

/** The stored lines of an app, newest first, with the colours of their messages. */
export async function listAppLogs(
  db: Db,
  appId: string,
  { since, until, level, search }: AppLogFilters,
  { limit = DEFAULT_LIMIT, cursor }: PageRequest
): Promise<Page<AppLogLine>> {
  const before = parseLineCursor(cursor)
  if (!since && !until && !level && !search && before === undefined) {
    const newest = await newestLines(db).execute({ app: appId, limit: limit + 1 })
    return cutPage(newest, limit, ({ id }) => String(id))
  }
  const rows = await db
    .select(shown)
    .from(appLogs)
    .where(
      and(
        eq(appLogs.appId, appId),
        before === undefined ? undefined : lt(appLogs.id, before),
        since && gte(appLogs.at, since),
        until && lt(appLogs.at, until),
        level && eq(appLogs.level, level),
        search ? ilike(WITHOUT_COLOURS, `%${literally(search)}%`) : undefined
      )
    )
    .orderBy(desc(appLogs.id))
    .limit(limit + 1)
  return cutPage(rows, limit, ({ id }) => String(id))
}

/** The lines of an app after a given line, in order. */
export async function readAppLogs(db: Db, appId: string, after: number, limit: number): Promise<AppLogLine[]> {
  return db
    .select(shown)
    .from(appLogs)
    .where(and(eq(appLogs.appId, appId), gt(appLogs.id, after)))
    .orderBy(asc(appLogs.id))
    .limit(limit)
}

/** The id of an app's newest line; 0 if there is none. */
export async function newestAppLog(db: Db, appId: string): Promise<number> {
  const [newest] = await db
    .select({ id: max(appLogs.id) })
    .from(appLogs)
    .where(eq(appLogs.appId, appId))
  return newest?.id ?? 0
}

/** Time of an app's newest log line; null if there is none. */
export async function lastLoggedAt(db: Db, appId: string): Promise<Date | null> {
  const [newest] = await db
    .select({ at: appLogs.at })
    .from(appLogs)
    .where(eq(appLogs.appId, appId))
    .orderBy(desc(appLogs.at), desc(appLogs.id))
    .limit(1)
  return newest?.at ?? null
}

/** The {@link sameLine} keys of an app's stored lines from an instant on. */
export async function keptSince(db: Db, appId: string, since: Date): Promise<string[]> {
  const rows = await db
    .select(shown)
    .from(appLogs)
    .where(and(eq(appLogs.appId, appId), gte(appLogs.at, since)))
    .orderBy(desc(appLogs.id))
    .limit(KEPT_LINES)
  return rows.map(sameLine)
}

/** A key that is equal for two reports of the same line. */
export function sameLine({ at, instance, message }: Pick<NewAppLog, 'at' | 'instance' | 'message'>): string {
  return JSON.stringify([at, tidyInstance(instance), tidyMessage(message)])
}

export type AppLogLine = Pick<typeof appLogs.$inferSelect, keyof typeof shown>

function parseLineCursor(cursor: string | undefined): number | undefined {
  const id = parseNameCursor(cursor)
  if (id === undefined) return undefined
  if (!/^\d{1,15}$/.test(id)) throw invalidCursor()
  return Number(id)
}

function literally(text: string): string {
  return text.replaceAll(/[\\%_]/g, '\\$&')
}
