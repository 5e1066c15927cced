import { and, desc, eq, gt, isNull, or, type SQL, sql } from 'drizzle-orm'
import { apiTokens, SCOPES, type Scope, users } from '../../../drizzle/schema.ts'
import { errors } from '../../../plugins/lib/errors.ts'
import { hashToken, mintToken, tokenPrefix } from '../../../plugins/lib/token.ts'
import type { AuditLog } from '../audit/log.ts'
import { type Db, repeatableRead } from '../base/db.ts'
import { afterBoundCursor, microseconds, type PageRequest, pageValues, toPage } from '../base/page.ts'

/** NOTIFY channel; the payload is the id of a changed token or user, which every instance then drops from its cache. */
export const AUTH_CHANNEL = 'rhone_auth'

export interface NewToken {
  userId: string
  name: string
  scopes: readonly Scope[]
  expiresAt?: Date | null
  /** The only team the token has access to; absent: all of the user's teams. */
  teamId?: string | null
}

const fields = {
  id: apiTokens.id,
  name: apiTokens.name,
  prefix: apiTokens.prefix,
  scopes: apiTokens.scopes,
  teamId: apiTokens.teamId,
  expiresAt: apiTokens.expiresAt,
  lastUsedAt: apiTokens.lastUsedAt,
  lastUsedFrom: apiTokens.lastUsedFrom,
  createdAt: apiTokens.createdAt
}

/** Issues a token. The returned token is its only copy. */
export async function createToken(db: Db, { userId, name, scopes, expiresAt = null, teamId = null }: NewToken) {
  if (expiresAt !== null && !(expiresAt.getTime() > Date.now()))
    throw errors.validation('expiresAt', 'must be in the future')

  const token = mintToken()
  const [row] = await db
    .insert(apiTokens)
    .values({
      userId,
      name,
      scopes: [...scopes],
      teamId,
      expiresAt,
      tokenHash: hashToken(token),
      prefix: tokenPrefix(token)
    })
    .returning(fields)
  return { ...row!, token }
}

/** The requested scopes. The caller must hold each of them, or a scope that includes it. */
export function narrowScopes(held: readonly Scope[], wanted: readonly Scope[] = held): readonly Scope[] {
  const highest = Math.max(...held.map(scope => SCOPES.indexOf(scope)))
  const missing = wanted.find(scope => SCOPES.indexOf(scope) > highest)
  if (missing !== undefined) throw errors.forbidden(`Your token does not have the scope ${missing}`)
  return wanted
}

const tokensOfUser = repeatableRead(db =>
  db
    .select({ ...fields, at: microseconds(apiTokens.createdAt) })
    .from(apiTokens)
    .where(and(eq(apiTokens.userId, sql.placeholder('user')), isNull(apiTokens.revokedAt), afterBoundCursor(apiTokens)))
    .orderBy(desc(apiTokens.createdAt), desc(apiTokens.id))
    .limit(sql.placeholder('limit'))
    .prepare('tokens_of_user')
)

/** A user's tokens that are valid or have expired, newest first; revoked ones are left out. */
export async function listTokens(db: Db, userId: string, request: PageRequest = {}) {
  const rows = await tokensOfUser(db).execute({ user: userId, ...pageValues(request) })
  return toPage(rows, request.limit)
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

/** Makes all instances drop a token or a user from their caches when the transaction commits. */
export async function announce(db: Db, id: string): Promise<void> {
  await db.execute(sql`select pg_notify(${AUTH_CHANNEL}, ${id})`)
}

const principalFields = {
  userId: users.id,
  username: users.username,
  isOperator: users.isAdmin,
  credentialId: apiTokens.id,
  scopes: apiTokens.scopes,
  teamId: apiTokens.teamId,
  expiresAt: apiTokens.expiresAt
}

const selectValid = (db: Db, name: string, condition: SQL) =>
  db
    .select(principalFields)
    .from(apiTokens)
    .innerJoin(users, eq(users.id, apiTokens.userId))
    .where(
      and(
        condition,
        isNull(apiTokens.revokedAt),
        isNull(users.eraseAfter),
        or(isNull(apiTokens.expiresAt), gt(apiTokens.expiresAt, sql`now()`))
      )
    )
    .prepare(name)
const validToken = repeatableRead(db =>
  selectValid(db, 'valid_token', eq(apiTokens.tokenHash, sql.placeholder('hash')))
)
const validTokenById = repeatableRead(db =>
  selectValid(db, 'valid_token_by_id', eq(apiTokens.id, sql.placeholder('id')))
)

/** Looks up the principal of a token for the auth plugin. */
export function tokenVerifier(db: () => Db) {
  return {
    async verify(hash: Buffer) {
      const [found] = await validToken(db()).execute({ hash })
      return found === undefined ? null : principalOf(found)
    }
  }
}

/** The owner of an API token, by the token's id; null if the token is no longer valid. */
export async function findTokenById(db: Db, id: string) {
  const [found] = await validTokenById(db).execute({ id })
  return found === undefined ? null : principalOf(found)
}

type FoundToken = Awaited<ReturnType<ReturnType<typeof validToken>['execute']>>[number]

function principalOf({ expiresAt, teamId, ...principal }: FoundToken) {
  return {
    ...principal,
    via: 'token' as const,
    ...(teamId !== null && { teamId }),
    ...(expiresAt !== null && { expiresAt })
  }
}

/** One use of a token. `bucket` is the network part of the address, which identifies a place. */
export interface TokenUse {
  readonly tokenId: string
  readonly address: string
  readonly bucket: string
}

/**
 * Records token uses, at most one per token and minute across all instances. A use from a new place is an audit event.
 */
export function touchTokens(db: Db, log: AuditLog, uses: readonly TokenUse[]): Promise<void> {
  const used = sql`jsonb_to_recordset(${JSON.stringify(uses)}::jsonb) as used("tokenId" uuid, address text, bucket text)`
  return db.transaction(async tx => {
    await tx.execute(sql`
      update api_tokens set last_used_at = now(), last_used_from = used.address
      from ${used}
      where id = used."tokenId" and id in (
        select id from api_tokens
        where id in (select "tokenId" from ${used})
          and (last_used_at is null or last_used_at < now() - interval '55 seconds')
        order by id for update skip locked
      )`)
    const places = await tx.execute<{ tokenId: string; bucket: string }>(sql`
      insert into token_addresses (token_id, address)
      select id, used.bucket from ${used} join api_tokens on id = used."tokenId" order by 1, 2
      on conflict do nothing
      returning token_id as "tokenId", address as bucket`)
    for (const { tokenId, bucket } of places)
      await auditNewPlace(tx, log, uses.find(use => use.tokenId === tokenId && use.bucket === bucket)!)
  })
}

async function auditNewPlace(tx: Db, log: AuditLog, { tokenId, address }: TokenUse): Promise<void> {
  const [token] = await tx
    .select({ userId: users.id, username: users.username, name: apiTokens.name, prefix: apiTokens.prefix })
    .from(apiTokens)
    .innerJoin(users, eq(users.id, apiTokens.userId))
    .where(eq(apiTokens.id, tokenId))
  await log.write(tx, {
    eventType: 'auth',
    action: 'use_from_new_address',
    userId: token!.userId,
    actor: token!.username,
    resource: 'token',
    resourceId: tokenId,
    resourceName: token!.name,
    details: { prefix: token!.prefix },
    ip: address
  })
}
