import { spawn } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { chmodSync, chownSync, lstatSync, mkdirSync, readdirSync } from 'node:fs'
import { chmod, chown } from 'node:fs/promises'
import { join } from 'node:path'
import { hasCode } from '../../../../plugins/lib/errno.ts'
import { type Account, usersWithProcesses } from '../../../../plugins/lib/owned-processes.ts'
import { appDirectory, type Layout } from '../layout.ts'
import { claimUser, releaseUser } from './users.ts'

export interface Home {
  /** The one directory that the app may write to; it stays until the app is destroyed. */
  readonly directory: string
  /** Whose all processes of the app are; null: they are this process's own user's, which is not root. */
  readonly account: Account | null
}

/** Users that have no name, and that systemd leaves to others. */
const FIRST = 60_578
const LAST = 61_183

/**
 * The home of an app, made when it has none. Where this process is root, the app gets a user of its own with it: so apps
 * cannot look into each other, nor into Rhone. Synchronous, so that no two apps draw the same user.
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

/** The account of an app that has been here; null when it has none. */
export const findAccount = (layout: Layout, appId: string): Account | null => accountOf(homeOf(layout, appId))

/** The accounts of all apps that have been here. */
export function accountsOf(layout: Layout): Account[] {
  return appsOf(layout).flatMap(appId => findAccount(layout, appId) ?? [])
}

/** Lets the user of an app into its image, and nobody else. */
export async function closeImage(directory: string, account: Account | null): Promise<void> {
  if (account !== null) await chown(directory, 0, account.gid)
  await chmod(directory, account === null ? 0o700 : 0o750)
}

/** Gives the user of an app back, whose home is gone. */
export const releaseAccount = (layout: Layout, appId: string, { uid }: Account): void =>
  releaseUser(uid, homeOf(layout, appId))

/** Removes what a user has left where everybody may write, so that the next one of that number finds nothing. */
export async function clearTraces({ uid, gid }: Account): Promise<void> {
  // As that user, who can remove nothing else, whatever is swapped for what meanwhile.
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

/** One that no other app has, and that nothing runs under. */
function drawUser(layout: Layout, home: string): number {
  const taken = new Set([...accountsOf(layout).map(({ uid }) => uid), ...usersWithProcesses()])
  const free = Array.from({ length: LAST - FIRST + 1 }, (_, index) => FIRST + index).filter(uid => !taken.has(uid))
  while (free.length > 0) {
    const [uid] = free.splice(randomInt(free.length), 1)
    if (claimUser(uid!, home)) return uid!
  }
  throw new Error('there are too many apps on this machine to give each a user')
}
