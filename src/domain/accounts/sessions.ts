import { and, desc, eq, gt, isNull, lt, ne, or, sql } from 'drizzle-orm'
import { type SignInMethod, sessions, users } from '../../../drizzle/schema.ts'
import { errors } from '../../../plugins/lib/errors.ts'
import { type Db, repeatableRead } from '../base/db.ts'
import { afterBoundCursor, microseconds, type PageRequest, pageValues, toPage } from '../base/page.ts'
import { announce } from './tokens.ts'

export interface NewSession {
  secretHash: Buffer
  user: { id: string; isOperator: boolean }
  method: SignInMethod
  ip: string | undefined
  userAgent: string | undefined
  idleUntil: Date
  expiresAt: Date
}

const LONGEST_USER_AGENT = 512
/** Precision of a session's last use: a session in use is updated once per interval. */
const SEEN_EVERY = 60_000

const isLive = and(
  isNull(users.eraseAfter),
  gt(sessions.idleUntil, sql`now()`),
  gt(sessions.expiresAt, sql`now()`),
  // A new operator has to sign in again: a session never gains rights.
  or(eq(users.isAdmin, false), eq(sessions.asOperator, true))
)

const liveSession = repeatableRead(db =>
  db
    .select({
      id: sessions.id,
      userId: users.id,
      username: users.username,
      isOperator: users.isAdmin,
      signedInAt: sessions.createdAt,
      lastSeenAt: sessions.lastSeenAt,
      expiresAt: sessions.expiresAt
    })
    .from(sessions)
    .innerJoin(users, eq(users.id, sessions.userId))
    .where(and(eq(sessions.secretHash, sql.placeholder('hash')), isLive))
    .prepare('live_session')
)

/** The store of the session plugin. */
export function sessionStore(db: () => Db) {
  return {
    create: (tx: Db | null, session: NewSession) => createSession(tx ?? db(), session),

    async find(hash: Buffer, idleUntil: Date) {
      const [found] = await liveSession(db()).execute({ hash })
      if (found === undefined) return null
      const { id, lastSeenAt, ...user } = found
      if (Date.now() - lastSeenAt.getTime() > SEEN_EVERY) await keepAlive(db(), id, idleUntil)
      return { ...user, via: 'session' as const, credentialId: id, scopes: ['admin' as const] }
    },

    async end(tx: Db | null, hash: Buffer) {
      const [ended] = await (tx ?? db())
        .delete(sessions)
        .where(eq(sessions.secretHash, hash))
        .returning({ id: sessions.id })
      if (ended !== undefined) await announce(tx ?? db(), ended.id)
      return ended?.id
    }
  }
}

async function createSession(db: Db, { user, userAgent, ip, ...session }: NewSession): Promise<string> {
  await db
    .delete(sessions)
    .where(
      and(eq(sessions.userId, user.id), or(lt(sessions.idleUntil, sql`now()`), lt(sessions.expiresAt, sql`now()`)))
    )
  const [created] = await db
    .insert(sessions)
    .values({
      ...session,
      userId: user.id,
      asOperator: user.isOperator,
      ip: ip ?? null,
      userAgent: userAgent?.replaceAll('\0', '').toWellFormed().slice(0, LONGEST_USER_AGENT) ?? null
    })
    .returning({ id: sessions.id })
  return created!.id
}

async function keepAlive(db: Db, id: string, idleUntil: Date): Promise<void> {
  await db.update(sessions).set({ lastSeenAt: sql`now()`, idleUntil }).where(eq(sessions.id, id))
}

const sessionsOfUser = repeatableRead(db =>
  db
    .select({
      id: sessions.id,
      method: sessions.method,
      ip: sessions.ip,
      userAgent: sessions.userAgent,
      lastSeenAt: sessions.lastSeenAt,
      expiresAt: sessions.expiresAt,
      createdAt: sessions.createdAt,
      at: microseconds(sessions.createdAt)
    })
    .from(sessions)
    .innerJoin(users, eq(users.id, sessions.userId))
    .where(and(eq(sessions.userId, sql.placeholder('user')), isLive, afterBoundCursor(sessions)))
    .orderBy(desc(sessions.createdAt), desc(sessions.id))
    .limit(sql.placeholder('limit'))
    .prepare('sessions_of_user')
)

/** The sessions of a user that have not ended, newest first. */
export async function listSessions(db: Db, userId: string, request: PageRequest = {}) {
  const rows = await sessionsOfUser(db).execute({ user: userId, ...pageValues(request) })
  return toPage(rows, request.limit)
}

/** Ends one session of a user, on every instance as soon as this is committed. */
export async function revokeSession(db: Db, userId: string, id: string): Promise<void> {
  const ended = await db
    .delete(sessions)
    .where(and(eq(sessions.id, id), eq(sessions.userId, userId)))
    .returning({ id: sessions.id })
  if (ended.length === 0) throw errors.notFound('session')
  await announce(db, id)
}

/** Ends all sessions of a user, or all but one. @returns how many */
export async function revokeSessions(db: Db, userId: string, except?: string): Promise<number> {
  const isMeant = and(eq(sessions.userId, userId), except === undefined ? undefined : ne(sessions.id, except))
  const ended = await db.delete(sessions).where(isMeant).returning({ id: sessions.id })
  if (ended.length > 0) await announce(db, userId)
  return ended.length
}
