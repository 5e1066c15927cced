import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto'
import { sql } from 'drizzle-orm'
import type { Db } from '../base/db.ts'

/**
 * Allows the next role to log in with a password, and to act as the owner, so that everything it creates is the
 * owner's.
 * @param admin a connection whose role may create roles and grant the owner
 */
export async function openRole(
  admin: Db,
  { owner, next }: { readonly owner: string; readonly next: string },
  password: string
): Promise<void> {
  const [role, as] = [sql.identifier(next), sql.identifier(owner)]
  // A verifier, so that the password appears in no statement and no log.
  const verifier = sql.raw(`'${scramVerifier(password)}'`)
  await admin.transaction(async tx => {
    const found = await tx.execute(sql`select 1 from pg_roles where rolname = ${next}`)
    if (found.length === 0) await tx.execute(sql`create role ${role}`)
    await tx.execute(sql`alter role ${role} login password ${verifier}`)
    await tx.execute(sql`grant ${as} to ${role}`)
    await tx.execute(sql`alter role ${role} set role = ${as}`)
  })
}

/** Ends the logins of a role. Its sessions stay. */
export async function closeRole(admin: Db, role: string): Promise<void> {
  await admin.execute(sql`alter role ${sql.identifier(role)} nologin`)
}

/** Number of sessions in this database that have logged in as the role. */
export async function sessionsOf(db: Db, role: string): Promise<number> {
  const [row] = await db.execute<{ count: number }>(
    sql`select count(*)::int as count from pg_stat_activity
      where datname = current_database() and usename = ${role} and pid <> pg_backend_pid()`
  )
  return row?.count ?? 0
}

/** RFC 5803. The password is random, so few iterations suffice. */
function scramVerifier(password: string): string {
  const iterations = 4_096
  const salt = randomBytes(16)
  const salted = pbkdf2Sync(password, salt, iterations, 32, 'sha256')
  const key = (name: string) => createHmac('sha256', salted).update(name).digest()
  const stored = createHash('sha256').update(key('Client Key')).digest('base64')
  return `SCRAM-SHA-256$${iterations}:${salt.toString('base64')}$${stored}:${key('Server Key').toString('base64')}`
}
