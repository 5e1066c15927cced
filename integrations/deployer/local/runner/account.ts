import { randomInt } from 'node:crypto'
import { chmodSync, chownSync, lstatSync, mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Account } from '../../../../plugins/lib/owned-processes.ts'
import { appDirectory, type Layout } from '../layout.ts'

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
  const directory = join(appDirectory(layout, appId), 'home')
  mkdirSync(directory, { recursive: true, mode: 0o711 })
  chmodSync(directory, 0o700)
  if (process.geteuid?.() !== 0) return { directory, account: null }
  const { uid, gid } = lstatSync(directory)
  if (uid !== 0) return { directory, account: { uid, gid } }
  const number = drawUser(join(layout.root, 'of'))
  chownSync(directory, number, number)
  return { directory, account: { uid: number, gid: number } }
}

function drawUser(homes: string): number {
  const taken = new Set(
    readdirSync(homes).map(appId => lstatSync(join(homes, appId, 'home'), { throwIfNoEntry: false })?.uid)
  )
  if (taken.size > LAST - FIRST) throw new Error('there are too many apps on this machine to give each a user')
  for (;;) {
    const number = randomInt(FIRST, LAST + 1)
    if (!taken.has(number)) return number
  }
}
