import { and, desc, eq, gte, inArray, isNotNull, isNull, or, sql } from 'drizzle-orm'
import { type IncidentSeverity, incidents, incidentUpdates } from '../../../drizzle/schema.ts'
import { errors } from '../../../plugins/lib/errors.ts'
import type { Db } from '../base/db.ts'
import { afterCursor, DEFAULT_LIMIT, microseconds, type PageRequest, toPage } from '../base/page.ts'

/** The channel that notifies every instance of changes. */
export const INCIDENTS_CHANNEL = 'rhone_incidents'

export interface Incident {
  readonly id: string
  readonly title: string
  readonly severity: IncidentSeverity
  readonly components: string[]
  readonly openedAt: Date
  /** Null while it is open. */
  readonly closedAt: Date | null
  /** Latest first. */
  readonly updates: { readonly at: Date; readonly message: string }[]
}

export interface NewIncident {
  readonly title: string
  readonly severity: IncidentSeverity
  readonly components: readonly string[]
  readonly message: string | null
}

/** The incident after a requested change, and whether the change was made now or before. */
export interface IncidentChange {
  readonly incident: Incident
  readonly changed: boolean
}

/** Opens an incident. If one with this title is open, returns that one unchanged. */
export async function openIncident(tx: Db, { message, components, ...given }: NewIncident): Promise<IncidentChange> {
  const [opened] = await tx
    .insert(incidents)
    .values({ ...given, components: [...components] })
    .onConflictDoNothing()
    .returning({ id: incidents.id })
  if (opened !== undefined) {
    if (message !== null) await say(tx, opened.id, message)
    await announce(tx)
    return { incident: await findIncident(tx, opened.id), changed: true }
  }
  const [known] = await tx
    .select({ id: incidents.id })
    .from(incidents)
    .where(and(eq(incidents.title, given.title), isNull(incidents.closedAt)))
  // It was closed in between.
  if (known === undefined)
    throw errors.conflict('An incident with this title was just closed; try again to open a new one')
  return { incident: await findIncident(tx, known.id), changed: false }
}

/**
 * Adds an update for users. Repeating the latest update changes nothing. @throws AppError when the incident is closed
 */
export async function updateIncident(tx: Db, id: string, message: string): Promise<IncidentChange> {
  const before = await lockIncident(tx, id)
  if (before.updates[0]?.message === message) return { incident: before, changed: false }
  if (before.closedAt !== null) throw errors.conflict('This incident is closed; open a new one')
  await say(tx, id, message)
  await announce(tx)
  return { incident: await findIncident(tx, id), changed: true }
}

/** Closes an incident, with an optional final update. Closing it again changes nothing. */
export async function closeIncident(tx: Db, id: string, message: string | null): Promise<IncidentChange> {
  const before = await lockIncident(tx, id)
  if (before.closedAt !== null) return { incident: before, changed: false }
  if (message !== null && before.updates[0]?.message !== message) await say(tx, id, message)
  await tx.update(incidents).set({ closedAt: sql`now()` }).where(eq(incidents.id, id))
  await announce(tx)
  return { incident: await findIncident(tx, id), changed: true }
}

/** All incidents, newest first. */
export async function listIncidents(db: Db, open: boolean | undefined, { limit = DEFAULT_LIMIT, cursor }: PageRequest) {
  const isWanted = open === undefined ? undefined : open ? isNull(incidents.closedAt) : isNotNull(incidents.closedAt)
  const rows = await db
    .select({ ...FIELDS, at: microseconds(incidents.openedAt) })
    .from(incidents)
    .where(and(isWanted, afterCursor({ createdAt: incidents.openedAt, id: incidents.id }, cursor)))
    .orderBy(desc(incidents.openedAt), desc(incidents.id))
    .limit(limit + 1)
  const { items, nextCursor } = toPage(rows, limit)
  return { items: await withUpdates(db, items), nextCursor }
}

/** Maximum number of closed incidents shown. */
const SHOWN = 50

/** The incidents of the status page: the open ones, then those closed since, latest first. */
export async function incidentsSince(db: Db, since: Date): Promise<Incident[]> {
  const rows = await db
    .select(FIELDS)
    .from(incidents)
    .where(or(isNull(incidents.closedAt), gte(incidents.closedAt, since)))
    .orderBy(isNotNull(incidents.closedAt), desc(incidents.openedAt), desc(incidents.id))
    .limit(SHOWN)
  return withUpdates(db, rows)
}

const FIELDS = {
  id: incidents.id,
  title: incidents.title,
  severity: incidents.severity,
  components: incidents.components,
  openedAt: incidents.openedAt,
  closedAt: incidents.closedAt
} as const

type Row = Omit<Incident, 'updates'>

async function withUpdates(db: Db, rows: readonly Row[]): Promise<Incident[]> {
  if (rows.length === 0) return []
  const ids = rows.map(({ id }) => id)
  const updates = await db
    .select()
    .from(incidentUpdates)
    .where(inArray(incidentUpdates.incidentId, ids))
    .orderBy(desc(incidentUpdates.position))
  const byIncident = Map.groupBy(updates, ({ incidentId }) => incidentId)
  return rows.map(({ id, title, severity, components, openedAt, closedAt }) => ({
    ...{ id, title, severity, components, openedAt, closedAt },
    updates: (byIncident.get(id) ?? []).map(({ at, message }) => ({ at, message }))
  }))
}

/** @throws AppError when there is none */
export async function findIncident(tx: Db, id: string): Promise<Incident> {
  const [found] = await withUpdates(tx, await tx.select(FIELDS).from(incidents).where(eq(incidents.id, id)))
  if (found === undefined) throw errors.notFound('Incident')
  return found
}

/** Serializes changes of one incident. */
async function lockIncident(tx: Db, id: string): Promise<Incident> {
  await tx.select({ id: incidents.id }).from(incidents).where(eq(incidents.id, id)).for('update')
  return findIncident(tx, id)
}

async function say(tx: Db, incidentId: string, message: string): Promise<void> {
  await tx.insert(incidentUpdates).values({ incidentId, message })
}

async function announce(tx: Db): Promise<void> {
  await tx.execute(sql`select pg_notify(${INCIDENTS_CHANNEL}, '')`)
}
