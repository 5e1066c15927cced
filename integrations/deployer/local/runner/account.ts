import { spawn } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { chmodSync, chownSync, lstatSync, mkdirSync, readdirSync } from 'node:fs'
import { chmod, chown } from 'node:fs/promises'
import { join } from 'node:path'
import { hasCode } from '../../../../plugins/lib/errno.ts'
import { type Account, usersWithProcesses } from '../../../../plugins/lib/owned-processes.ts'
import { APP_USERS } from '../../../../plugins/lib/tenant-users.ts'
import { appDirectory, type Layout } from '../layout.ts'
import { claimUser, releaseUser } from './users.ts'

export interface Home {
  /** The only directory the app may write to; kept until the app is destroyed. */
  readonly directory: string
  /** The user that runs the app's processes; null: this process's own user, which is not root. */
  readonly account: Account | null
}

const { first: FIRST, last: LAST } = APP_USERS

/**
 * Opens an app's home, creating it if necessary. When this process is root, the app also gets its own user, so that
 * apps cannot read each other's files or Rhone's. Synchronous, so that no two apps draw the same user.
 */
export function openHome(layout: Layout, appId: string): Home {
  const directory = homeOf(layout, appId)
  mkdirSync(directory, { recursive: true, mode: 0o711 })
  chmodSync(directory, 0o700)
  if (process.geteuid?.() !== 0) return { directory, account: null }
  const known = accountOf(directory)
  if (known !== null) {
    claimUser(known.uid, directory)
    return { directory, account: known }
  }
  const number = drawUser(layout, directory)
  chownSync(directory, number, number)
  return { directory, account: { uid: number, gid: number } }
}

/** The account of a known app; null when it has none. */
export const findAccount = (layout: Layout, appId: string): Account | null => accountOf(homeOf(layout, appId))

/** The accounts of all known apps. */
export function accountsOf(layout: Layout): Account[] {
  return appsOf(layout).flatMap(appId => findAccount(layout, appId) ?? [])
}

/** Gives only the app's user access to its image. */
export async function closeImage(directory: string, account: Account | null): Promise<void> {
  if (account !== null) await chown(directory, 0, account.gid)
  await chmod(directory, account === null ? 0o700 : 0o750)
}

/** Releases the user of an app whose home has been removed. */
export const releaseAccount = (layout: Layout, appId: string, { uid }: Account): void =>
  releaseUser(uid, homeOf(layout, appId))

/** Removes a user's files from world-writable directories, so that the next app with that uid finds nothing. */
export async function clearTraces({ uid, gid }: Account): Promise<void> {
  // Runs as that user, who can remove nothing else, even if paths are swapped meanwhile.
  const script = `for place in /tmp /var/tmp /dev/shm; do
    [ ! -d "$place" ] || find "$place" -xdev -user "$1" -delete 2>/dev/null
  done
  ipcrm -a 2>/dev/null`
  const child = spawn('/bin/sh', ['-c', script, 'sh', String(uid)], { cwd: '/', stdio: 'ignore', uid, gid })
  await once(child, 'exit').catch(console.error)
}

const homeOf = (layout: Layout, appId: string) => join(appDirectory(layout, appId), 'home')

function appsOf({ root }: Layout): string[] {
  try {
    return readdirSync(join(root, 'of'))
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return []
    throw error
  }
}

function accountOf(home: string): Account | null {
  const found = lstatSync(home, { throwIfNoEntry: false })
  return found === undefined || found.uid === 0 || process.geteuid?.() !== 0 ? null : { uid: found.uid, gid: found.gid }
}

/** Draws a user that no other app has and that runs no processes. */
function drawUser(layout: Layout, home: string): number {
  const taken = new Set([...accountsOf(layout).map(({ uid }) => uid), ...usersWithProcesses()])
  const free = Array.from({ length: LAST - FIRST + 1 }, (_, index) => FIRST + index).filter(uid => !taken.has(uid))
  while (free.length > 0) {
    const [uid] = free.splice(randomInt(free.length), 1)
    if (claimUser(uid!, home)) return uid!
  }
  throw new Error('there are too many apps on this machine for separate users')
}
