import { desc, eq, getTableColumns, or, type SQL } from 'drizzle-orm'
import {
  apiTokens,
  deployments,
  localAccounts,
  sessions,
  teamInvitations,
  teamMembers,
  teams,
  tokenAddresses,
  users
} from '../../../drizzle/schema.ts'
import { errors } from '../../../plugins/lib/errors.ts'
import { readAudit } from '../audit/events.ts'
import type { Db } from '../base/db.ts'

const BATCH = 500

/**
 * Everything stored about a user, as the text of one JSON object. It is generated in batches, so that memory use does
 * not depend on its size. Hashes of secrets are left out.
 */
export async function* exportPersonalData(db: Db, userId: string): AsyncGenerator<string> {
  const account = await readAccount(db, userId)
  yield `{"exportedAt":${JSON.stringify(new Date())},"account":${JSON.stringify(account)}`
  for (const [name, batches] of Object.entries(sections(db, userId, account.email))) yield* section(name, batches)
  yield '}\n'
}

async function readAccount(db: Db, userId: string) {
  const [account] = await db
    .select({
      id: users.id,
      githubId: users.githubId,
      username: users.username,
      email: users.email,
      emailVerifiedAt: users.emailVerifiedAt,
      avatarUrl: users.avatarUrl,
      isOperator: users.isAdmin,
      createdAt: users.createdAt,
      updatedAt: users.updatedAt
    })
    .from(users)
    .where(eq(users.id, userId))
  if (account === undefined) throw errors.notFound('user')
  return account
}

type Batches = AsyncIterable<readonly object[]>

function sections(db: Db, userId: string, email: string | null): Record<string, Batches> {
  return {
    teams: paged((limit, offset) =>
      db
        .select({
          id: teams.id,
          name: teams.name,
          slug: teams.slug,
          role: teamMembers.role,
          since: teamMembers.createdAt
        })
        .from(teamMembers)
        .innerJoin(teams, eq(teams.id, teamMembers.teamId))
        .where(eq(teamMembers.userId, userId))
        .orderBy(desc(teamMembers.createdAt), teams.id)
        .limit(limit)
        .offset(offset)
    ),
    tokens: paged((limit, offset) => {
      const { tokenHash: _, userId: __, ...held } = getTableColumns(apiTokens)
      return db
        .select(held)
        .from(apiTokens)
        .where(eq(apiTokens.userId, userId))
        .orderBy(desc(apiTokens.createdAt), apiTokens.id)
        .limit(limit)
        .offset(offset)
    }),
    addresses: paged((limit, offset) =>
      db
        .select(getTableColumns(tokenAddresses))
        .from(tokenAddresses)
        .innerJoin(apiTokens, eq(apiTokens.id, tokenAddresses.tokenId))
        .where(eq(apiTokens.userId, userId))
        .orderBy(desc(tokenAddresses.firstSeenAt), tokenAddresses.address)
        .limit(limit)
        .offset(offset)
    ),
    sessions: paged((limit, offset) => {
      const { secretHash: _, userId: __, ...held } = getTableColumns(sessions)
      return db
        .select(held)
        .from(sessions)
        .where(eq(sessions.userId, userId))
        .orderBy(desc(sessions.createdAt), sessions.id)
        .limit(limit)
        .offset(offset)
    }),
    passwords: paged((limit, offset) =>
      db
        .select({
          login: localAccounts.login,
          createdAt: localAccounts.createdAt,
          changedAt: localAccounts.changedAt
        })
        .from(localAccounts)
        .where(eq(localAccounts.userId, userId))
        .limit(limit)
        .offset(offset)
    ),
    invitations: paged((limit, offset) => {
      const { tokenHash: _, ...held } = getTableColumns(teamInvitations)
      return db
        .select(held)
        .from(teamInvitations)
        .where(concerns(userId, email))
        .orderBy(desc(teamInvitations.createdAt), teamInvitations.id)
        .limit(limit)
        .offset(offset)
    }),
    deployments: paged((limit, offset) =>
      db
        .select()
        .from(deployments)
        .where(eq(deployments.triggeredBy, userId))
        .orderBy(desc(deployments.createdAt), deployments.id)
        .limit(limit)
        .offset(offset)
    ),
    audit: readAudit(db, { userId }, BATCH)
  }
}

function concerns(userId: string, email: string | null): SQL | undefined {
  return or(
    eq(teamInvitations.invitedBy, userId),
    eq(teamInvitations.acceptedBy, userId),
    email === null ? undefined : eq(teamInvitations.email, email.toLowerCase())
  )
}

/** These lists are short, so an offset is cheap; only the audit log is long. */
async function* paged<Row extends object>(read: (limit: number, offset: number) => PromiseLike<Row[]>) {
  for (let offset = 0; ; offset += BATCH) {
    const rows = await read(BATCH, offset)
    if (rows.length > 0) yield rows
    if (rows.length < BATCH) return
  }
}

async function* section(name: string, batches: Batches): AsyncGenerator<string> {
  yield `,${JSON.stringify(name)}:[`
  let separator = ''
  for await (const rows of batches) {
    yield separator + rows.map(row => JSON.stringify(row)).join(',')
    separator = ','
  }
  yield ']'
}
