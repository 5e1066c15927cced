import { eq, sql } from 'drizzle-orm'
import { users } from '../../drizzle/schema.ts'
import { errors } from '../../plugins/lib/errors.ts'
import { type Db, statement } from './db.ts'

const userById = statement(db =>
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
