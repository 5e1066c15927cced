import { setTimeout as delay } from 'node:timers/promises'
import type { PostgresTarget } from '../../../plugins/lib/postgres.ts'
import { ask, openSession, type Session } from '../../../plugins/lib/postgres-session.ts'

export interface LeadershipSettings {
  /**
   * The server that accepts writes, bypassing any transaction pooler, which would lend the lock's connection to others.
   * A standby would grant the same lock to another instance.
   */
  readonly target: () => Promise<PostgresTarget>
  /**
   * Notifies of a changed target: the leader gives up its session, and the first instance to ask leads over a new one.
   */
  readonly onChange?: (callback: () => void) => () => void
  /** The task. Each name has one leader among all instances. */
  readonly name: string
  /** Milliseconds between attempts to become leader. */
  readonly retryInterval: number
}

const CONNECT_TIMEOUT = 5
const HEARTBEAT = 2_000
const ANSWER_TIMEOUT = 3_000
/**
 * Milliseconds of silence after which the server ends the leader's session. A process that hangs or is cut off from the
 * network does not close its connection and would otherwise keep the lock. Longer than a heartbeat with its reply.
 */
const LONGEST_SILENCE = 6_000

/**
 * Runs a task on one instance at a time until `signal` aborts. The leader holds a session-level database lock: another
 * instance takes over at once if the leader dies, and within 10 s if it hangs or is cut off. A leader that loses its
 * session is notified.
 *
 * @param lead runs the task until its signal aborts; after `lost` aborts, there may be another leader
 */
export async function whileLeading(
  { target, onChange, name, retryInterval }: LeadershipSettings,
  signal: AbortSignal,
  lead: (signal: AbortSignal, lost: AbortSignal) => Promise<void>
): Promise<void> {
  while (!signal.aborted) {
    const lost = new AbortController()
    const server = await target().catch(() => undefined) // Reported elsewhere.
    if (server === undefined) {
      await pauseFor(retryInterval, signal)
      continue
    }
    const session = openSession(server, {
      applicationName: `rhone-${name}`,
      connectTimeout: CONNECT_TIMEOUT,
      prepare: false,
      parameters: { idle_session_timeout: LONGEST_SILENCE, tcp_user_timeout: LONGEST_SILENCE },
      onClose: () => lost.abort()
    })
    const stopWatching = onChange?.(() => session.destroy())
    try {
      if (await takeLock(session, name))
        await keepAlive(session, lead(AbortSignal.any([signal, lost.signal]), lost.signal))
    } catch {
      // The database is down, which is reported elsewhere.
    } finally {
      stopWatching?.()
      session.destroy()
    }
    await pauseFor(retryInterval, signal)
  }
}

function pauseFor(interval: number, signal: AbortSignal): Promise<void> {
  return delay(interval * (0.5 + Math.random()), undefined, { signal, ref: false }).catch(() => {})
}

async function takeLock(session: Session, name: string): Promise<boolean> {
  const lock = `pg_try_advisory_lock(hashtext('rhone.${name}'))`
  const statement = `select case when pg_is_in_recovery() then false else ${lock} end as taken`
  const [row] = (await ask(session, statement, ANSWER_TIMEOUT)) as { taken: boolean }[]
  return row?.taken === true
}

/** Detects a silently dead connection by its missing replies, and closes it. */
async function keepAlive(session: Session, work: Promise<void>): Promise<void> {
  const heartbeat = setInterval(() => ask(session, 'select 1', ANSWER_TIMEOUT).catch(() => {}), HEARTBEAT).unref()
  await work.finally(() => clearInterval(heartbeat))
}
