import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import type { TimelineFence } from '../../plugins/database/index.ts'

/** Timelines by system. Timelines are counted from 1. */
type Timelines = Readonly<Record<string, number>>

/** The primary's position when a server on this machine last saw it. */
export interface Sighting {
  readonly system: string
  readonly timeline: number
  readonly lsn: bigint
  /** Milliseconds since 1970. */
  readonly at: number
}

/** Minimum milliseconds between two recorded sightings. */
const SIGHTING_INTERVAL = 5_000

/**
 * Keeps the highest timelines in a file that all processes on a data directory share. The file outlives restarts, so
 * that even a process that has never seen the new primary refuses the old one.
 * A second file records where the primary was last seen, for `rhone failover`.
 * @param onError called when a file cannot be written; the fence then works in this process only
 */
export function timelineFence(path: string, onError: (error: unknown) => void): TimelineFence {
  let own: Timelines = {}
  let seenAt = Number.NEGATIVE_INFINITY
  const stored = (system: string) => Math.max(own[system] ?? 0, readTimelines(path)[system] ?? 0)
  return {
    highest: stored,
    raise(system, timeline) {
      if (timeline <= (own[system] ?? 0)) return
      own = { ...own, [system]: timeline }
      if (timeline <= (readTimelines(path)[system] ?? 0)) return
      try {
        writeWhole(path, { timelines: { ...readTimelines(path), [system]: timeline } })
      } catch (error) {
        onError(error)
      }
    },
    saw({ system, timeline, lsn }) {
      if (performance.now() - seenAt < SIGHTING_INTERVAL) return
      seenAt = performance.now()
      try {
        writeWhole(sightingPath(path), { system, timeline, lsn: String(lsn), at: Date.now() })
      } catch (error) {
        onError(error)
      }
    }
  }
}

/** The last sighting, stored next to the timelines at `path`; null if there is none. */
export function lastSighting(path: string): Sighting | null {
  try {
    const { system, timeline, lsn, at } = JSON.parse(readFileSync(sightingPath(path), 'utf8'))
    return { system: String(system), timeline: Number(timeline), lsn: BigInt(lsn), at: Number(at) }
  } catch {
    return null // no server has run here with several hosts
  }
}

const sightingPath = (path: string) => path.replace(/(\.json)?$/, '-seen.json')

function readTimelines(path: string): Timelines {
  try {
    const { timelines } = JSON.parse(readFileSync(path, 'utf8'))
    return typeof timelines === 'object' && timelines !== null ? timelines : {}
  } catch {
    return {} // none was ever seen, or the file was edited by hand; the next sighting rewrites it
  }
}

function writeWhole(path: string, content: object): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
  const unfinished = `${path}.${process.pid}.${Math.random().toString(36).slice(2)}`
  writeFileSync(unfinished, `${JSON.stringify(content)}\n`, { mode: 0o600 })
  renameSync(unfinished, path)
}
