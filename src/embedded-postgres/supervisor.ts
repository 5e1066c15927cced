import { setTimeout as sleep } from 'node:timers/promises'
import { nullIf } from '../../plugins/lib/errno.ts'
import { isRunning, type ProcessIdentity } from '../../plugins/lib/processes.ts'
import type { Cluster } from './cluster.ts'
import { boundLog } from './log-file.ts'
import { adoptOrStart, stopPostmaster } from './postmaster.ts'

export interface Supervision {
  /** Stops supervising, then stops PostgreSQL; works in the middle of a restart too. */
  stop(): Promise<void>
}

const POLL_MS = 200
const LOG_CHECK_MS = 60_000
/** A PostgreSQL that ran this long has recovered: the next failure resets the back-off. */
const STABLE_MS = 60_000
const MAX_BACKOFF_MS = 30_000

/**
 * Restarts `postmaster` whenever it is gone, indefinitely but with growing delays. It polls, because an adopted process
 * is not our child and sends no exit event. Its timers keep no process alive.
 */
export function supervise(cluster: Cluster, postmaster: ProcessIdentity): Supervision {
  const { log } = cluster
  const stopping = new AbortController()
  const { signal } = stopping
  const pause = (ms: number) => sleep(ms, undefined, { ref: false, signal }).catch(nullIf('ABORT_ERR'))

  let current = postmaster
  let startedAt = performance.now()
  let failures = 0

  async function watch(): Promise<void> {
    while (!signal.aborted) {
      if (isRunning(current)) await pause(POLL_MS)
      else await restart()
    }
  }

  async function restart(): Promise<void> {
    if (performance.now() - startedAt > STABLE_MS) failures = 0
    const delay = backoff(failures++)
    log.error(`the embedded PostgreSQL has stopped; restarting it in ${delay} ms (attempt ${failures})`)
    await pause(delay)
    try {
      current = await adoptOrStart(cluster, signal)
      startedAt = performance.now()
    } catch (error) {
      if (!signal.aborted) log.error((error as Error).message)
    }
  }

  const watching = watch()
  const logCheck = setInterval(() => {
    boundLog(cluster.layout.log).catch((error: Error) => log.error(error.message))
  }, LOG_CHECK_MS).unref()

  return {
    async stop() {
      clearInterval(logCheck)
      stopping.abort()
      await watching
      await stopPostmaster(current)
    }
  }
}

function backoff(failures: number): number {
  return failures === 0 ? 0 : Math.min(100 * 2 ** failures, MAX_BACKOFF_MS)
}
