import { createHash } from 'node:crypto'
import { lstatSync, statSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'

/** Survives a restart of the machine, unlike /tmp. */
const ELSEWHERE = '/var/tmp'
const SEARCHABLE = 0o001

/**
 * Where apps of this machine are built and run: DATA_DIR, unless the work could not be done there.
 *
 * - Below a directory with `node_modules`, as a DATA_DIR in the clone of this project is, an app would find modules that it
 *   has not installed: it would run here, and nowhere else.
 * - Where this process is root, builds and apps are users of their own, who must be able to get there.
 *
 * @throws Error when somebody else has taken the place that is used instead
 */
export function workDirOf(dataDir: string, elsewhere = ELSEWHERE): string {
  const isRoot = process.geteuid?.() === 0
  if (!isBelowModules(resolve(dataDir)) && (!isRoot || isOpenToOthers(dataDir))) return dataDir
  const name = createHash('sha256').update(dataDir).digest('hex').slice(0, 16)
  const directory = join(elsewhere, `rhone-${name}`)
  const found = lstatSync(directory, { throwIfNoEntry: false })
  if (found && (!found.isDirectory() || found.uid !== process.geteuid?.()))
    throw new Error(`${directory} belongs to somebody else`)
  return directory
}

/** As Node looks for modules: in `node_modules` of each directory above. */
function isBelowModules(path: string): boolean {
  const parent = dirname(path)
  if (parent === path) return false
  return statSync(join(parent, 'node_modules'), { throwIfNoEntry: false }) !== undefined || isBelowModules(parent)
}

function isOpenToOthers(path: string): boolean {
  const found = statSync(path, { throwIfNoEntry: false })
  if (found !== undefined && (found.mode & SEARCHABLE) === 0) return false
  return dirname(path) === path || isOpenToOthers(dirname(path))
}
