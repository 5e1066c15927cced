import { randomUUID } from 'node:crypto'
import type { TestContext } from 'node:test'
import { drizzle } from 'drizzle-orm/postgres-js'
import postgres from 'postgres'
import * as schema from '../../drizzle/schema.ts'
import { generateKey, parseKeyring } from '../../src/config/keyring.ts'
import { AuditKeys } from '../../src/domain/audit/keys.ts'
import { AuditLog } from '../../src/domain/audit/log.ts'
import type { Db } from '../../src/domain/base/db.ts'
import { freshDatabase } from '../support/database.ts'

/** An audit log with its own keys. */
export const auditLog = new AuditLog(new AuditKeys(parseKeyring(generateKey())))

/** A private database with the bare driver. */
export async function openDatabase(t: TestContext): Promise<Db> {
  const client = postgres(await freshDatabase(t), { max: 5, onnotice: () => {} })
  t.after(() => client.end({ timeout: 1 }))
  return drizzle({ client, schema, casing: 'snake_case' })
}

export async function addUser(db: Db, username = `user-${randomUUID().slice(0, 8)}`): Promise<string> {
  const [user] = await db.insert(schema.users).values({ username }).returning({ id: schema.users.id })
  return user!.id
}

/** On the plan that new teams have by default. */
export async function addTeam(
  db: Db,
  members: Record<string, schema.Role> = {},
  slug = `team-${randomUUID().slice(0, 8)}`
) {
  const [team] = await db
    .insert(schema.teams)
    .values({ name: `Team ${slug}`, slug, plan: 'pro' })
    .returning()
  for (const [userId, role] of Object.entries(members))
    await db.insert(schema.teamMembers).values({ teamId: team!.id, userId, role })
  return team!
}
