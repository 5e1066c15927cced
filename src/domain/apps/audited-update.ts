import { and, eq, getTableColumns, type SQL, sql } from 'drizzle-orm'
import { apps, auditLogs, teamMembers } from '../../../drizzle/schema.ts'
import { auditValues, type SignedRow } from '../audit/log.ts'
import { type Db, isRefusedValue, statementsByColumns } from '../base/db.ts'
import { type App, appFields, type Role } from '../teams/access.ts'
import { notifyOfApp } from './notices.ts'

/** What a caller saw, and what must still hold for a change. */
export interface Seen {
  readonly app: App
  readonly userId: string
  /** The caller's role in the app's team. */
  readonly role: Role
}

/**
 * Changes an app and writes the audit row, in one statement and so without a transaction of its own, if the app and the
 * caller's role are still as they were seen. The role cannot be revoked before the statement has ended.
 *
 * @param values columns of `apps`
 * @param row the audit row of the change
 * @returns undefined if something has changed since, or the database refuses a value; nothing is done then. A
 *   transaction can say which of the two rows was refused
 */
export async function updateWithAudit(
  db: Db,
  { app, userId, role }: Seen,
  values: Readonly<Record<string, unknown>>,
  row: SignedRow
): Promise<App | undefined> {
  const seen = { app: app.id, version: app.version, team: app.teamId, user: userId, role }
  const [changed] = await update(Object.keys(values))(db)
    .execute({ ...row, ...values, ...seen })
    .catch(error => {
      if (isRefusedValue(error)) return []
      throw error
    })
  if (changed === undefined) return undefined
  const { notified: _, ...updated } = changed
  return updated
}

const given = (name: keyof Seen | 'version' | 'team' | 'user') => sql.placeholder(name)

const update = statementsByColumns((db, values) => {
  const held = db.$with('held').as(
    db
      .select({ role: teamMembers.role })
      .from(teamMembers)
      .where(
        and(
          eq(teamMembers.teamId, given('team')),
          eq(teamMembers.userId, given('user')),
          eq(teamMembers.role, given('role'))
        )
      )
      .for('share')
  )
  const changed = db.$with('changed').as(
    db
      .update(apps)
      .set({ ...values, version: sql`${apps.version} + 1` })
      .where(and(eq(apps.id, given('app')), eq(apps.version, given('version')), sql`exists (select from ${held})`))
      .returning({ ...appFields, notified: notifyOfApp(apps.id).as('notified') })
  )
  const recorded = db.$with('recorded').as(db.insert(auditLogs).select(db.select(auditRow()).from(changed) as never))
  return db.with(held, changed, recorded).select().from(changed).prepare('update_app_with_audit')
})

/** The audit row as a select list, in the order of the table's columns, as drizzle wants it. */
function auditRow(): Record<string, SQL> {
  const columns = Object.keys(getTableColumns(auditLogs)) as (keyof typeof auditValues)[]
  return Object.fromEntries(columns.map(column => [column, sql`${auditValues[column]}`]))
}
