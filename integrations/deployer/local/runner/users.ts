import { lstatSync, mkdirSync, readlinkSync, symlinkSync, unlinkSync } from 'node:fs'
import { join } from 'node:path'
import { hasCode } from '../../../../plugins/lib/errno.ts'

/** One for the machine: everything that runs as a user is ended with its app, so no two runners may give out the same. */
const REGISTER = '/var/lib/rhone-users'

/**
 * Takes a user for the app that has this home, on the whole machine.
 *
 * @param register a directory of root's, with a link to the home of each user that is taken
 * @returns false when an app of this or of another runner has it
 */
export function claimUser(uid: number, home: string, register = REGISTER): boolean {
  if (!openRegister(register)) return true
  const entry = join(register, String(uid))
  for (;;) {
    try {
      symlinkSync(home, entry)
      return true
    } catch (error) {
      if (!hasCode(error, 'EEXIST')) throw error
    }
    const holder = linkOf(entry)
    if (holder === home) return true
    if (holder !== null && isHome(holder, uid)) return false
    // Its app is gone.
    removeEntry(entry)
  }
}

/** Gives a user back once nothing of it is left. */
export function releaseUser(uid: number, home: string, register = REGISTER): void {
  const entry = join(register, String(uid))
  if (linkOf(entry) === home) removeEntry(entry)
}

/** False on a machine that lets nothing be kept there, which runs in a container of its own. */
function openRegister(register: string): boolean {
  try {
    mkdirSync(register, { recursive: true, mode: 0o700 })
    return true
  } catch (error) {
    if (hasCode(error, 'EROFS', 'EACCES', 'EPERM', 'ENOSPC')) return false
    throw error
  }
}

/** One that has just been made is root's still. */
function isHome(path: string, uid: number): boolean {
  const found = lstatSync(path, { throwIfNoEntry: false })
  return found !== undefined && (found.uid === uid || found.uid === 0)
}

function linkOf(entry: string): string | null {
  try {
    return readlinkSync(entry)
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR')) return null
    throw error
  }
}

function removeEntry(entry: string): void {
  try {
    unlinkSync(entry)
  } catch (error) {
    if (!hasCode(error, 'ENOENT')) throw error
  }
}
