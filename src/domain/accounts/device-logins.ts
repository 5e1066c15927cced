import { createHash, randomBytes, randomInt } from 'node:crypto'
import { and, eq, gt, isNull, sql } from 'drizzle-orm'
import { deviceLogins, type Scope, users } from '../../../drizzle/schema.ts'
import { AppError, errors } from '../../../plugins/lib/errors.ts'
import type { Db } from '../base/db.ts'
import { signedInFields } from './sign-in.ts'
import { createToken, revokeToken } from './tokens.ts'

/** Seconds within which a login must be approved. */
export const DEVICE_LOGIN_LIFETIME = 600
/** Days for which the token of a login is valid. */
export const DEVICE_TOKEN_DAYS = 90

/** Initial polling interval in seconds. */
const FIRST_INTERVAL = 5
/** Added to the interval each time a program polls too early, up to the maximum. */
const SLOWER = 5
const LONGEST_INTERVAL = 60
/** How early a poll may be, in seconds: networks do not preserve intervals. */
const TOLERANCE = 1
/** Minimum seconds to fetch the token after a late approval. */
const FETCH_TIME = 60

/** As RFC 8628 proposes: no vowels, so no words; no digits, so nothing to mistake for a letter. */
const ALPHABET = 'BCDFGHJKLMNPQRSTVWXZ'
const CODE_LENGTH = 8
const ATTEMPTS = 5

export interface NewDeviceLogin {
  readonly name: string
  readonly scopes: readonly Scope[]
  readonly ip: string | null
}

/** A login that waits for approval. */
export interface PendingLogin {
  readonly id: string
  readonly name: string
  readonly scopes: readonly Scope[]
  readonly ip: string | null
  readonly createdAt: Date
}

const hashOf = (kind: 'device' | 'user', text: string) => createHash('sha256').update(`${kind} ${text}`).digest()

/** Begins a login. The returned codes are their only copies. */
export async function beginDeviceLogin(db: Db, { name, scopes, ip }: NewDeviceLogin) {
  const deviceCode = randomBytes(32).toString('base64url')
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const userCode = randomUserCode()
    const added = await db
      .insert(deviceLogins)
      .values({
        name,
        scopes: [...scopes],
        ip,
        deviceHash: hashOf('device', deviceCode),
        userHash: hashOf('user', userCode),
        pollInterval: FIRST_INTERVAL,
        expiresAt: sql`now() + make_interval(secs => ${DEVICE_LOGIN_LIFETIME})`
      })
      .onConflictDoNothing({ target: deviceLogins.userHash })
      .returning({ id: deviceLogins.id })
    if (added.length === 0) continue
    return { deviceCode, userCode: spelled(userCode), expiresIn: DEVICE_LOGIN_LIFETIME, interval: FIRST_INTERVAL }
  }
  throw errors.conflict('Could not generate a free code; try again')
}

function randomUserCode(): string {
  return Array.from({ length: CODE_LENGTH }, () => ALPHABET[randomInt(ALPHABET.length)]).join('')
}

const spelled = (code: string) => `${code.slice(0, CODE_LENGTH / 2)}-${code.slice(CODE_LENGTH / 2)}`

/** Normalizes a code as typed to the code as shown; null for text that cannot be a code. */
export function readUserCode(text: string): string | null {
  const letters = text.toUpperCase().replaceAll(/[^A-Z]/g, '')
  const isCode = letters.length === CODE_LENGTH && [...letters].every(letter => ALPHABET.includes(letter))
  return isCode ? spelled(letters) : null
}

const stillWaits = and(eq(deviceLogins.status, 'pending'), gt(deviceLogins.expiresAt, sql`now()`))

/** The pending login with this code; undefined if there is none, or if it is over. */
export async function findPendingLogin(db: Db, userCode: string): Promise<PendingLogin | undefined> {
  const { id, name, scopes, ip, createdAt } = deviceLogins
  const hash = hashOf('user', userCode.replace('-', ''))
  const [found] = await db
    .select({ id, name, scopes, ip, createdAt })
    .from(deviceLogins)
    .where(and(eq(deviceLogins.userHash, hash), stillWaits))
  return found
}

/** Records a person's decision. @returns whether the login was still pending */
export async function decideDeviceLogin(
  tx: Db,
  id: string,
  userId: string,
  status: 'approved' | 'denied'
): Promise<boolean> {
  const decided = await tx
    .update(deviceLogins)
    .set({
      status,
      userId,
      expiresAt: sql`greatest(${deviceLogins.expiresAt}, now() + make_interval(secs => ${FETCH_TIME}))`
    })
    .where(and(eq(deviceLogins.id, id), stillWaits))
    .returning({ id: deviceLogins.id })
  return decided.length > 0
}

/** The status of a login, in the terms of RFC 8628. */
export type DeviceLoginStatus = 'authorization_pending' | 'slow_down' | 'access_denied' | 'expired_token' | 'approved'

export interface DeviceLoginOutcome {
  readonly status: DeviceLoginStatus
  /** Seconds to wait before the next poll. */
  readonly interval: number
  /** The token and its owner, returned once, when the login is approved. */
  readonly granted?: {
    readonly user: { readonly id: string; readonly username: string; readonly isOperator: boolean }
    readonly token: Awaited<ReturnType<typeof createToken>>
  }
  /** A token revoked because it was requested a second time. */
  readonly revoked?: {
    readonly user: { readonly id: string; readonly username: string; readonly isOperator: boolean }
    readonly token: { readonly id: string; readonly name: string; readonly prefix: string }
  }
}

/**
 * Answers the program that began a login. An approved login returns its token once. A second request means that the
 * device code has leaked or the reply was lost: either way the token is revoked, so that it is in nobody's hands.
 */
export async function askDeviceLogin(tx: Db, deviceCode: string): Promise<DeviceLoginOutcome> {
  const { id, status, name, scopes, userId, tokenId, pollInterval: interval } = deviceLogins
  const [login] = await tx
    .select({
      ...{ id, status, name, scopes, userId, tokenId, interval },
      isOver: sql<boolean>`${deviceLogins.expiresAt} <= now()`,
      isEarly: sql<boolean>`coalesce(${deviceLogins.polledAt} > now() - make_interval(secs => ${interval} - ${TOLERANCE}), false)`
    })
    .from(deviceLogins)
    .where(eq(deviceLogins.deviceHash, hashOf('device', deviceCode)))
    .for('update')
  if (login === undefined) return { status: 'expired_token', interval: FIRST_INTERVAL }

  const answer = (now: DeviceLoginStatus) => ({ status: now, interval: login.interval })
  const owner = login.userId === null ? undefined : await findOwner(tx, login.userId)
  if (login.status === 'spent') return { ...answer('expired_token'), ...(await endToken(tx, owner, login.tokenId)) }
  if (login.isOver) return answer('expired_token')
  if (login.status === 'denied') return answer('access_denied')
  if (login.isEarly) return { status: 'slow_down', interval: await slowDown(tx, login) }
  if (login.status === 'pending') {
    await tx.update(deviceLogins).set({ polledAt: sql`now()` }).where(eq(deviceLogins.id, login.id))
    return answer('authorization_pending')
  }
  if (owner === undefined) return answer('access_denied')

  const expiresAt = new Date(Date.now() + DEVICE_TOKEN_DAYS * 86_400_000)
  const token = await createToken(tx, { userId: owner.id, name: login.name, scopes: login.scopes, expiresAt })
  await tx.update(deviceLogins).set({ status: 'spent', tokenId: token.id }).where(eq(deviceLogins.id, login.id))
  return { ...answer('approved'), granted: { user: owner, token } }
}

/** The account, unless it is being deleted. */
async function findOwner(tx: Db, userId: string) {
  const [owner] = await tx
    .select(signedInFields)
    .from(users)
    .where(and(eq(users.id, userId), isNull(users.eraseAfter)))
  return owner
}

async function slowDown(tx: Db, { id, interval }: { id: string; interval: number }): Promise<number> {
  const slower = Math.min(interval + SLOWER, LONGEST_INTERVAL)
  await tx.update(deviceLogins).set({ pollInterval: slower, polledAt: sql`now()` }).where(eq(deviceLogins.id, id))
  return slower
}

async function endToken(tx: Db, owner: Awaited<ReturnType<typeof findOwner>>, tokenId: string | null) {
  if (owner === undefined || tokenId === null) return {}
  try {
    return { revoked: { user: owner, token: await revokeToken(tx, owner.id, tokenId) } }
  } catch (error) {
    if (error instanceof AppError && error.code === 'NOT_FOUND') return {} // it has expired or been revoked already
    throw error
  }
}
