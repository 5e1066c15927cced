import { createHash } from 'node:crypto'
import { lstatSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** Survives a restart of the machine, unlike /tmp. */
const ELSEWHERE = '/var/tmp'
const SEARCHABLE = 0o001

/**
 * Where apps of this machine are built and run: DATA_DIR, unless this process is root and others cannot get there. Builds
 * and apps are then others, each a user of its own.
 *
 * @throws Error when somebody else has taken the place that is used instead
 */
export function workDirOf(dataDir: string): string {
  if (process.geteuid?.() !== 0 || isOpenToOthers(dataDir)) return dataDir
  const name = createHash('sha256').update(dataDir).digest('hex').slice(0, 16)
  const directory = join(ELSEWHERE, `rhone-${name}`)
  const found = lstatSync(directory, { throwIfNoEntry: false })
  if (found && (!found.isDirectory() || found.uid !== 0)) throw new Error(`${directory} belongs to somebody else`)
  return directory
}

function isOpenToOthers(path: string): boolean {
  const found = statSync(path, { throwIfNoEntry: false })
  if (found !== undefined && (found.mode & SEARCHABLE) === 0) return false
  return dirname(path) === path || isOpenToOthers(dirname(path))
}
