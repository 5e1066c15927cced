import { createHash } from 'node:crypto'
import { lstatSync, statSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'

/** Survives a restart of the machine, unlike /tmp. */
const ELSEWHERE = '/var/tmp'
const SEARCHABLE = 0o001

/**
 * Where this machine builds and runs apps: DATA_DIR, unless that is unsuitable.
 *
 * - If a parent directory has `node_modules`, as when DATA_DIR is in a clone of this project, an app would find modules
 *   that it has not installed: it would run here and nowhere else.
 * - If this process is root, builds and apps run as separate users, who must be able to reach the directory.
 *
 * @throws Error when another user already owns the fallback directory
 */
export function workDirOf(dataDir: string, elsewhere = ELSEWHERE): string {
  const isRoot = process.geteuid?.() === 0
  if (!isBelowModules(resolve(dataDir)) && (!isRoot || isOpenToOthers(dataDir))) return dataDir
  const name = createHash('sha256').update(dataDir).digest('hex').slice(0, 16)
  const directory = join(elsewhere, `rhone-${name}`)
  const found = lstatSync(directory, { throwIfNoEntry: false })
  if (found && (!found.isDirectory() || found.uid !== process.geteuid?.()))
    throw new Error(`${directory} belongs to another user`)
  return directory
}

/** Follows Node's module lookup: `node_modules` in each parent directory. */
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
