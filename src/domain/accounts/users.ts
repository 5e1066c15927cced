import { and, desc, eq, sql } from 'drizzle-orm'
import { users } from '../../../drizzle/schema.ts'
import { errors } from '../../../plugins/lib/errors.ts'
import { type Db, repeatableRead } from '../base/db.ts'
import { afterCursor, DEFAULT_LIMIT, microseconds, type PageRequest, toPage } from '../base/page.ts'

const userById = repeatableRead(db =>
  db
    .select({
      id: users.id,
      username: users.username,
      email: users.email,
      avatarUrl: users.avatarUrl,
      isOperator: users.isAdmin,
      createdAt: users.createdAt
    })
    .from(users)
    .where(eq(users.id, sql.placeholder('id')))
    .prepare('user_by_id')
)

export async function findUser(db: Db, id: string) {
  const [user] = await userById(db).execute({ id })
  if (user === undefined) throw errors.notFound('user')
  return user
}

export interface UserFilters {
  username?: string
  email?: string
  operator?: boolean
}

const listed = {
  id: users.id,
  username: users.username,
  email: users.email,
  isOperator: users.isAdmin,
  eraseAfter: users.eraseAfter,
  createdAt: users.createdAt
}

/** The users of the platform, newest first. */
export async function listUsers(db: Db, filters: UserFilters, { limit = DEFAULT_LIMIT, cursor }: PageRequest) {
  const { username, email, operator } = filters
  const rows = await db
    .select({ ...listed, at: microseconds(users.createdAt) })
    .from(users)
    .where(
      and(
        username === undefined ? undefined : eq(users.username, username),
        email === undefined ? undefined : eq(sql`lower(${users.email})`, email.toLowerCase()),
        operator === undefined ? undefined : eq(users.isAdmin, operator),
        afterCursor(users, cursor)
      )
    )
    .orderBy(desc(users.createdAt), desc(users.id))
    .limit(limit + 1)
  return toPage(rows, limit)
}

/** One user, in the same form as in the list. */
export async function findListedUser(db: Db, id: string) {
  const [user] = await db.select(listed).from(users).where(eq(users.id, id))
  if (user === undefined) throw errors.notFound('user')
  return user
}
