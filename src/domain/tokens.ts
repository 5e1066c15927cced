import { and, desc, eq, gt, inArray, isNull, lt, or, sql } from 'drizzle-orm'
import { apiTokens, type Scope, users } from '../../drizzle/schema.ts'
import { errors } from '../../plugins/lib/errors.ts'
import { hashToken, mintToken, tokenPrefix } from '../../plugins/lib/token.ts'
import { type Db, statement } from './db.ts'
import { afterCursor, DEFAULT_LIMIT, microseconds, type PageRequest, toPage } from './page.ts'

/** Tells every instance that a token or a user has changed, by id, so that it forgets what it has remembered. */
export const AUTH_CHANNEL = 'rhone_auth'

export interface NewToken {
  userId: string
  name: string
  scopes: readonly Scope[]
  expiresAt?: Date | null
}

const fields = {
  id: apiTokens.id,
  name: apiTokens.name,
  prefix: apiTokens.prefix,
  scopes: apiTokens.scopes,
  expiresAt: apiTokens.expiresAt,
  lastUsedAt: apiTokens.lastUsedAt,
  createdAt: apiTokens.createdAt
}

/** Issues a token. What is returned here is the only copy of it. */
export async function createToken(db: Db, { userId, name, scopes, expiresAt = null }: NewToken) {
  if (expiresAt !== null && !(expiresAt.getTime() > Date.now()))
    throw errors.validation('expiresAt', 'must be in the future')

  const token = mintToken()
  const [row] = await db
    .insert(apiTokens)
    .values({ userId, name, scopes: [...scopes], expiresAt, tokenHash: hashToken(token), prefix: tokenPrefix(token) })
    .returning(fields)
  return { ...row!, token }
}

/** A user's tokens that can still be used or have expired by themselves, newest first. */
export async function listTokens(db: Db, userId: string, { limit = DEFAULT_LIMIT, cursor }: PageRequest = {}) {
  const rows = await db
    .select({ ...fields, at: microseconds(apiTokens.createdAt) })
    .from(apiTokens)
    .where(and(eq(apiTokens.userId, userId), isNull(apiTokens.revokedAt), afterCursor(apiTokens, cursor)))
    .orderBy(desc(apiTokens.createdAt), desc(apiTokens.id))
    .limit(limit + 1)
  return toPage(rows, limit)
}

/** Ends a token of a user, on every instance as soon as this is committed. */
export async function revokeToken(db: Db, userId: string, id: string) {
  const [revoked] = await db
    .update(apiTokens)
    .set({ revokedAt: sql`now()` })
    .where(and(eq(apiTokens.id, id), eq(apiTokens.userId, userId), isNull(apiTokens.revokedAt)))
    .returning({ id: apiTokens.id, name: apiTokens.name, prefix: apiTokens.prefix })
  if (revoked === undefined) throw errors.notFound('token')
  await announce(db, id)
  return revoked
}

/** Makes all instances forget a token or a user, when the transaction commits. */
export async function announce(db: Db, id: string): Promise<void> {
  await db.execute(sql`select pg_notify(${AUTH_CHANNEL}, ${id})`)
}

const validToken = statement(db =>
  db
    .select({
      userId: users.id,
      username: users.username,
      isOperator: users.isAdmin,
      tokenId: apiTokens.id,
      scopes: apiTokens.scopes,
      expiresAt: apiTokens.expiresAt
    })
    .from(apiTokens)
    .innerJoin(users, eq(users.id, apiTokens.userId))
    .where(
      and(
        eq(apiTokens.tokenHash, sql.placeholder('hash')),
        isNull(apiTokens.revokedAt),
        isNull(users.eraseAfter),
        or(isNull(apiTokens.expiresAt), gt(apiTokens.expiresAt, sql`now()`))
      )
    )
    .prepare('valid_token')
)

/** Where the auth plugin asks who a token belongs to. */
export function tokenVerifier(db: () => Db) {
  return {
    async verify(hash: Buffer) {
      const [found] = await validToken(db()).execute({ hash })
      if (found === undefined) return null
      const { expiresAt, ...principal } = found
      return expiresAt === null ? principal : { ...principal, expiresAt }
    }
  }
}

/** Notes that some tokens were used; at most once a minute for each, however many instances say so. */
export async function touchTokens(db: Db, ids: readonly string[]): Promise<void> {
  const isStale = or(isNull(apiTokens.lastUsedAt), lt(apiTokens.lastUsedAt, sql`now() - interval '55 seconds'`))
  await db
    .update(apiTokens)
    .set({ lastUsedAt: sql`now()` })
    .where(and(inArray(apiTokens.id, [...ids]), isStale))
}
