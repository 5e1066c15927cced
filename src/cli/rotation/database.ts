import { randomBytes } from 'node:crypto'
import { sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/postgres-js'
import postgres from 'postgres'
import * as schema from '../../../drizzle/schema.ts'
import { type PostgresTarget, postgresTarget, postgresTargets } from '../../../plugins/lib/postgres.ts'
import { surveyHosts } from '../../../plugins/lib/postgres-hosts.ts'
import type { Config } from '../../config/index.ts'
import { alternatingRoles } from '../../config/roles.ts'
import type { Db } from '../../domain/base/db.ts'
import { closeRole, openRole, sessionsOf } from '../../domain/secrets/database-roles.ts'
import { primaryUrlOf } from '../../wiring/primary-database.ts'
import { CommandError } from '../command.ts'
import { withCredentials } from './classes.ts'
import type { Rotated, Rotating } from './port.ts'

/** Milliseconds between two looks, and how many looks there are for sessions of the old role. */
const [PAUSE, LOOKS] = [500, 240]
/** Looks until a standby has the new role. */
const FOLLOW_LOOKS = 60

/**
 * Switches servers to the other of two login roles, neither of which owns anything; the old one can no longer log in
 * once its last session has ended.
 * @param finish only retires the unused role
 */
export async function rotateDatabase(rotating: Rotating, url: string, finish: boolean): Promise<Rotated> {
  const { db, config, bringIn } = rotating
  const roles = alternatingRoles(postgresTargets(url)[0]!.username)
  const adminUrl = await primaryUrlOf(config, config.database.adminUrl ?? config.database.directUrl ?? url)
  return asAdmin(adminUrl, async admin => {
    const others = [roles.owner, `${roles.owner}_a`, `${roles.owner}_b`].filter(role => role !== roles.current)
    if (finish) {
      for (const role of others) await retire(db, admin, role)
      return { class: 'database', variable: 'DATABASE_URL', held: 0, running: 0 }
    }
    const password = randomBytes(24).toString('hex')
    await openRole(admin, roles, password).catch(explain)
    await untilFollowed(admin, standbysIn(config, url))
    const rotated = await bringIn(withCredentials(url, roles.next, password))
    if (rotated.set === undefined) await retire(db, admin, roles.current)
    return rotated
  })
}

/** Every host that a server may log in at, the primary included. */
function standbysIn({ database: { directUrl, replicaUrl } }: Config, url: string): PostgresTarget[] {
  const hosts = postgresTargets(directUrl ?? url)
  const replica = replicaUrl === null ? [] : [postgresTarget(replicaUrl)]
  return [...(hosts.length > 1 ? hosts : []), ...replica]
}

/** Waits until the role is on all standbys that answer, since a server that could not log in there would refuse it. */
async function untilFollowed(admin: Db, hosts: readonly PostgresTarget[]): Promise<void> {
  if (hosts.length === 0) return
  const [end] = await admin.execute<{ lsn: string }>(
    sql`select (pg_current_wal_flush_lsn() - '0/0'::pg_lsn)::text as lsn`
  )
  const survey = { applicationName: 'rhone-rotation', connectTimeout: 5, timeoutMs: 5_000 }
  for (let look = 0; ; look++) {
    const behind = (await surveyHosts(hosts, survey)).filter(
      ({ state }) => state?.role === 'standby' && state.lsn < BigInt(end!.lsn)
    )
    if (behind.length === 0) return
    if (look === FOLLOW_LOOKS)
      throw new CommandError(
        `the standby ${behind.map(({ address }) => address).join(', ')} does not replicate, and lacks the new role; nothing was changed`
      )
    await new Promise(done => setTimeout(done, PAUSE))
  }
}

/** Its sessions end as servers put them back; those of commands end with the command. */
async function retire(db: Db, admin: Db, role: string): Promise<void> {
  for (let look = 0; (await sessionsOf(db, role)) > 0; look++) {
    if (look === LOOKS)
      throw new CommandError(
        `the role ${role} still has sessions; once they have ended, run: secrets rotate database --finish`
      )
    await new Promise(done => setTimeout(done, PAUSE))
  }
  await closeRole(admin, role).catch((error: Error) => {
    if (!/does not exist/.test(String(error.cause ?? error))) throw error
  })
}

function explain(error: Error): never {
  const cause = error.cause instanceof Error ? error.cause.message : error.message
  throw new CommandError(
    `the role could not be created (${cause}); set DATABASE_ADMIN_URL to a role that may create roles, such as a superuser`
  )
}

async function asAdmin<T>(url: string, use: (admin: Db) => Promise<T>): Promise<T> {
  const target = postgresTarget(url)
  const client = postgres({ ...target, max: 1, connect_timeout: 10, onnotice: () => {} })
  try {
    return await use(drizzle(client, { schema, casing: 'snake_case' }))
  } finally {
    await client.end({ timeout: 1 })
  }
}
