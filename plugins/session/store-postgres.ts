import { sql } from 'drizzle-orm'
import type { Db } from '../lib/own-types.ts'
import type { NewSession, SessionStore } from './port.ts'

const LONGEST_USER_AGENT = 512
/** Milliseconds: minimum time between writes for a session in use, which is not written on every request. */
const SEEN_EVERY = 60_000
/** How many ended sessions are removed when one begins. */
const PURGE_BATCH = 100

interface Row extends Record<string, unknown> {
  readonly id: string
  readonly userId: string
  readonly username: string
  readonly isOperator: boolean
  /** Milliseconds since 1970. */
  readonly signedInAt: number
  readonly lastSeenAt: number
  readonly expiresAt: number
}

/**
 * Keeps sessions in the table of `sessionDdl`, with the user as of sign-in. When a user is renamed, loses a right or is
 * deleted, delete the user's rows and call `app.session.forget(userId)`.
 *
 * @param host read at each session lookup, so that the app may get its database later
 */
export function postgresSessionStore(host: { readonly db: Db }): SessionStore {
  return {
    create: (tx, session) => create(tx ?? host.db, session),

    async find(hash, idleUntil) {
      const found = await find(host.db, hash)
      if (found === undefined) return null
      const { id, userId, username, isOperator, signedInAt, lastSeenAt, expiresAt } = found
      if (Date.now() - lastSeenAt > SEEN_EVERY) await keepAlive(host.db, id, idleUntil)
      return {
        userId,
        username,
        isOperator,
        via: 'session',
        credentialId: id,
        scopes: ['admin'],
        signedInAt: new Date(signedInAt),
        expiresAt: new Date(expiresAt)
      }
    },

    async end(tx, hash) {
      const [ended] = await (tx ?? host.db).execute<{ id: string }>(
        sql`delete from sessions where secret_hash = ${hash} returning id`
      )
      return ended?.id
    }
  }
}

async function create(db: Db, { secretHash, user, method, ip, userAgent, ...ends }: NewSession): Promise<string> {
  await db.execute(sql`
    delete from sessions where id in (
      select id from sessions where expires_at < now() or idle_until < now() limit ${PURGE_BATCH} for update skip locked
    )`)
  const agent = userAgent?.replaceAll('\0', '').toWellFormed().slice(0, LONGEST_USER_AGENT) ?? null
  const [created] = await db.execute<{ id: string }>(sql`
    insert into sessions (secret_hash, user_id, username, is_operator, method, ip, user_agent, idle_until, expires_at)
    values (${secretHash}, ${user.id}, ${user.username}, ${user.isOperator}, ${method}, ${ip ?? null}, ${agent},
      ${ends.idleUntil.toISOString()}::timestamptz, ${ends.expiresAt.toISOString()}::timestamptz)
    returning id`)
  return created!.id
}

async function find(db: Db, hash: Buffer): Promise<Row | undefined> {
  const [found] = await db.execute<Row>(sql`
    select id, user_id as "userId", username, is_operator as "isOperator", ${milliseconds('created_at')} as "signedInAt",
      ${milliseconds('last_seen_at')} as "lastSeenAt", ${milliseconds('expires_at')} as "expiresAt"
    from sessions where secret_hash = ${hash} and idle_until > now() and expires_at > now()`)
  return found
}

/** An instant in JavaScript's representation. */
function milliseconds(column: string) {
  return sql`(extract(epoch from ${sql.identifier(column)}) * 1000)::float8`
}

async function keepAlive(db: Db, id: string, idleUntil: Date): Promise<void> {
  await db.execute(
    sql`update sessions set last_seen_at = now(), idle_until = ${idleUntil.toISOString()}::timestamptz where id = ${id}`
  )
}
