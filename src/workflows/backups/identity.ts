import type { Sql } from 'postgres'
import { postgresTarget } from '../../../plugins/lib/postgres.ts'
import { openSession } from '../../../plugins/lib/postgres-session.ts'

/** The identity of this database, created by its first backup. */
export async function identityOf(sql: Sql): Promise<string> {
  const found = await readIdentity(sql)
  if (found !== null) return found
  await sql`insert into installation default values on conflict do nothing`
  return (await readIdentity(sql))!
}

/** The identity of the database at `url`; null before its first backup. */
export async function findIdentity(url: string): Promise<string | null> {
  const { sql } = openSession(postgresTarget(url), {
    applicationName: 'rhone-backup',
    connectTimeout: 10,
    prepare: false
  })
  try {
    return await readIdentity(sql)
  } finally {
    await sql.end({ timeout: 1 })
  }
}

async function readIdentity(sql: Sql): Promise<string | null> {
  const [row] = await sql<{ identity: string }[]>`select identity from installation`
  return row?.identity ?? null
}
