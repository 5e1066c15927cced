import { readFileSync } from 'node:fs'
import { isDescriptorShortage } from '../plugins/lib/errno.ts'
import type { Config } from './config/index.ts'

/** Descriptors for everything but clients and the database: modules, logs, builds, sockets of apps and services. */
const OTHERS = 200
/** Minimum milliseconds between two log lines about missing descriptors. */
const LOG_INTERVAL = 1_000

type Needs = Pick<Config, 'maxConnections' | 'workers'> & { readonly database: { readonly poolMax: number } }

/**
 * The startup warning for a configuration that needs more files and connections than this process may open.
 * @param limit the number of descriptors; null if the system does not tell
 */
export function descriptorWarning({ maxConnections, workers, database }: Needs, limit = descriptorLimit()) {
  const needed = maxConnections * workers + database.poolMax + OTHERS
  if (limit === null || needed <= limit) return null
  return (
    `this process may open ${limit} files and connections, but its settings need ${needed}: raise the limit ` +
    `(ulimit -n ${needed}), or set MAX_CONNECTIONS to ${Math.max(1, Math.floor((limit - database.poolMax - OTHERS) / workers))}`
  )
}

/** The descriptor limit of this process; Node itself has raised the soft limit to the hard one. */
export function descriptorLimit(): number | null {
  if (process.platform !== 'linux') return null
  const [, soft] = /^Max open files +(\d+)/m.exec(readFileSync('/proc/self/limits', 'latin1')) ?? []
  return soft === undefined ? null : Number(soft)
}

/** Reports shortages at most once a second: every attempt to open something would be one. */
export function shortageReporter(warn: (error: unknown, missed: number) => void): (error: unknown) => void {
  let next = -Infinity
  let missed = 0
  return error => {
    missed++
    if (performance.now() < next) return
    next = performance.now() + LOG_INTERVAL
    warn(error, missed)
    missed = 0
  }
}

/**
 * Node reads the resident size from a file. Packages do that in timers, which throw when no descriptor is left and then
 * never run again: this returns the last reading instead.
 */
export function keepMemoryReadable(): void {
  const read = process.memoryUsage
  let last = read()
  const readOrLast = () => {
    try {
      last = read()
    } catch (error) {
      if (!isDescriptorShortage(error)) throw error
    }
    return last
  }
  process.memoryUsage = Object.assign(readOrLast, { rss: () => readOrLast().rss })
}
