import { isUnreachable, type PostgresTarget } from '../lib/postgres.ts'

/**
 * Checks new credentials. Switching to another database or other hosts would lose what is in use, so it takes a
 * restart. @throws Error that names what does not work
 */
export async function tryCredentials(
  current: readonly PostgresTarget[],
  next: readonly PostgresTarget[],
  connectTimeout: number
): Promise<void> {
  if (next[0]!.database !== current[0]!.database) throw new Error('names another database, which requires a restart')
  if (next.length !== current.length) throw new Error('names other hosts, which requires a restart')
  const { ask, openSession } = await import('../lib/postgres-session.ts')
  const attempts = next.map(async target => {
    const session = openSession(target, { applicationName: 'rhone-check', connectTimeout, prepare: false })
    try {
      await ask(session, 'select 1', connectTimeout * 1_000)
    } finally {
      session.destroy()
    }
  })
  const results = await Promise.allSettled(attempts)
  const failed = results.filter(result => result.status === 'rejected')
  // Some of several hosts may be down; none may refuse the credentials.
  const refused = failed.find(({ reason }) => failed.length === results.length || !isUnreachable(reason))
  if (refused !== undefined) throw refused.reason
}
