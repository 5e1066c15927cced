import { setTimeout as delay } from 'node:timers/promises'
import type { PostgresTarget } from '../../../plugins/lib/postgres.ts'
import { ask, openSession, type Session } from '../../../plugins/lib/postgres-session.ts'

export interface LeadershipSettings {
  /** The database past any transaction pooler, which would lend the lock's connection to others. */
  readonly target: PostgresTarget
  /** What is led. Of each name there is one leader among all instances. */
  readonly name: string
  /** Milliseconds between two attempts to become the leader. */
  readonly retryInterval: number
}

const CONNECT_TIMEOUT = 5
const HEARTBEAT = 2_000
const ANSWER_TIMEOUT = 3_000

/**
 * Does something on one instance at a time, for as long as `signal` lets it. The leader has a lock of the database, which
 * ends with its connection: should it die, the next one takes over at once; should it lose the connection, it is told.
 *
 * @param lead does it until its signal is aborted; once `lost` is, there may be another leader
 */
export async function whileLeading(
  { target, name, retryInterval }: LeadershipSettings,
  signal: AbortSignal,
  lead: (signal: AbortSignal, lost: AbortSignal) => Promise<void>
): Promise<void> {
  while (!signal.aborted) {
    const lost = new AbortController()
    const session = openSession(target, {
      applicationName: `rhone-${name}`,
      connectTimeout: CONNECT_TIMEOUT,
      prepare: false,
      onClose: () => lost.abort()
    })
    try {
      if (await takeLock(session, name))
        await keepAlive(session, lead(AbortSignal.any([signal, lost.signal]), lost.signal))
    } catch {
      // The database is away, which others report.
    } finally {
      session.destroy()
    }
    await delay(retryInterval * (0.5 + Math.random()), undefined, { signal, ref: false }).catch(() => {})
  }
}

async function takeLock(session: Session, name: string): Promise<boolean> {
  const statement = `select pg_try_advisory_lock(hashtext('rhone.${name}')) as taken`
  const [row] = (await ask(session, statement, ANSWER_TIMEOUT)) as { taken: boolean }[]
  return row?.taken === true
}

/** A connection that has died without a word is noticed by its silence, and closed. */
async function keepAlive(session: Session, work: Promise<void>): Promise<void> {
  const heartbeat = setInterval(() => ask(session, 'select 1', ANSWER_TIMEOUT).catch(() => {}), HEARTBEAT).unref()
  await work.finally(() => clearInterval(heartbeat))
}
