import { lstatSync, mkdirSync, readlinkSync, symlinkSync, unlinkSync } from 'node:fs'
import { join } from 'node:path'
import { hasCode } from '../../../../plugins/lib/errno.ts'

/**
 * Shared by the whole machine: all processes of a user are ended with its app, so no two runners may assign the same
 * one.
 */
const REGISTER = '/var/lib/rhone-users'

/**
 * Claims a user, machine-wide, for the app with this home.
 *
 * @param register root's directory, with a link to the home for each claimed user
 * @returns false when another app of this or another runner has it
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
    // Its app no longer exists.
    removeEntry(entry)
  }
}

/** Releases a user once nothing of it is left. */
export function releaseUser(uid: number, home: string, register = REGISTER): void {
  const entry = join(register, String(uid))
  if (linkOf(entry) === home) removeEntry(entry)
}

/** False when the register cannot be created: the machine is then taken for a dedicated container. */
function openRegister(register: string): boolean {
  try {
    mkdirSync(register, { recursive: true, mode: 0o700 })
    return true
  } catch (error) {
    if (hasCode(error, 'EROFS', 'EACCES', 'EPERM', 'ENOSPC')) return false
    throw error
  }
}

/** A new home still belongs to root. */
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
