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
 * Milliseconds of silence after which the server ends the leader's session: a process that hangs, or whose network is cut
 * off, closes no connection and would keep the lock. It is more than a heartbeat takes, answer included.
 */
const LONGEST_SILENCE = 6_000

/**
 * Does something on one instance at a time, until `signal` is aborted. The leader holds a lock of the database, which ends
 * with its session: the next one takes over at once when the leader dies, and within 10 s when it hangs or is cut off. A
 * leader that loses its session is told.
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
      parameters: { idle_session_timeout: LONGEST_SILENCE, tcp_user_timeout: LONGEST_SILENCE },
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
