import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { eq, sql } from 'drizzle-orm'
import { localAccounts, type Plan, users } from '../../../drizzle/schema.ts'
import { errors } from '../../../plugins/lib/errors.ts'
import type { AuditLog } from '../audit/log.ts'
import type { Db } from '../base/db.ts'
import { revokeSessions } from './sessions.ts'
import { createPersonalTeam, signedInFields } from './sign-in.ts'

const LOGIN = /^[a-z0-9](?:[a-z0-9._@+-]{0,253}[a-z0-9])?$/
const CODE_HOURS = 24
/** Without letters that look alike. 20 characters out of 32 are 100 bits. */
const CODE_ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz'
const CODE_LENGTH = 20

/** The form in which names are compared: trimmed, NFKC, lower case. */
export function normalizeLogin(login: string): string {
  return login.trim().normalize('NFKC').toLowerCase()
}

/**
 * Creates an account without a password, and a personal team.
 *
 * @param by the actor in the audit log
 * @param plan the plan of that team
 * @returns also the code with which its owner sets a password
 */
export async function createLocalAccount(tx: Db, log: AuditLog, name: string, by: string, plan: Plan) {
  const login = normalizeLogin(name)
  if (!LOGIN.test(login))
    throw errors.validation('login', 'must consist of letters and digits, with . _ @ + - in between')
  const [taken] = await tx.select().from(localAccounts).where(eq(localAccounts.login, login))
  if (taken !== undefined) throw errors.conflict(`The account "${login}" already exists`)

  const email = login.includes('@') ? login : null
  const [user] = await tx.insert(users).values({ username: login, email }).returning(signedInFields)
  await tx.insert(localAccounts).values({ userId: user!.id, login })
  const team = await createPersonalTeam(tx, user!, plan)
  const who = { eventType: 'auth', actor: by, resource: 'user', resourceId: user!.id, resourceName: login } as const
  await log.write(tx, { ...who, action: 'create', details: { method: 'password' } })
  await log.write(tx, {
    ...who,
    eventType: 'team',
    action: 'create',
    teamId: team.id,
    resource: 'team',
    resourceId: team.id,
    resourceName: team.name,
    details: { slug: team.slug }
  })
  return { user: user!, team, code: await issueCode(tx, user!.id) }
}

/** Issues a code for setting a new password. The old password stays valid until the code is used. */
export async function issueResetCode(tx: Db, log: AuditLog, name: string, by: string) {
  const account = await findAccount(tx, name)
  if (account === undefined) throw errors.notFound('local account')
  const { user } = account
  await log.write(tx, {
    eventType: 'auth',
    action: 'issue_code',
    actor: by,
    resource: 'password',
    resourceId: user.id,
    resourceName: user.username
  })
  return { user, code: await issueCode(tx, user.id) }
}

async function issueCode(tx: Db, userId: string): Promise<string> {
  const characters = [...randomBytes(CODE_LENGTH)].map(byte => CODE_ALPHABET[byte % CODE_ALPHABET.length])
  const code = characters.join('').replace(/(.{5})(?=.)/g, '$1-')
  await tx
    .update(localAccounts)
    .set({ resetHash: hashOfCode(code), resetUntil: sql`now() + make_interval(hours => ${CODE_HOURS})` })
    .where(eq(localAccounts.userId, userId))
  return code
}

/** Tolerates the different ways in which people type a code. */
function hashOfCode(code: string): Buffer {
  const plain = code.toLowerCase().replace(/[\s-]/g, '').replaceAll('o', '0').replace(/[il]/g, '1')
  return createHash('sha256').update(plain).digest()
}

export type LocalAccount = NonNullable<Awaited<ReturnType<typeof findAccount>>>

export async function findAccount(db: Db, name: string) {
  const [found] = await selectAccounts(db).where(eq(localAccounts.login, normalizeLogin(name)))
  return found
}

export async function findAccountOf(db: Db, userId: string) {
  const [found] = await selectAccounts(db).where(eq(localAccounts.userId, userId))
  return found
}

function selectAccounts(db: Db) {
  const { login, passwordHash, resetHash, resetUntil } = localAccounts
  return db
    .select({ user: signedInFields, login, passwordHash, resetHash, resetUntil })
    .from(localAccounts)
    .innerJoin(users, eq(users.id, localAccounts.userId))
}

/** Whether a code is the account's current one. Takes the same time for an account that does not exist. */
export function isResetCode(account: LocalAccount | undefined, code: string): boolean {
  const expected = account?.resetHash ?? Buffer.alloc(32)
  const isEqual = timingSafeEqual(hashOfCode(code), expected)
  return isEqual && account?.resetUntil != null && account.resetUntil.getTime() > Date.now()
}

/** Sets a password, ends all sessions of the account, and invalidates its reset code. */
export async function setPassword(tx: Db, userId: string, passwordHash: string): Promise<void> {
  await tx
    .update(localAccounts)
    .set({ passwordHash, changedAt: sql`now()`, resetHash: null, resetUntil: null })
    .where(eq(localAccounts.userId, userId))
  await revokeSessions(tx, userId)
}
