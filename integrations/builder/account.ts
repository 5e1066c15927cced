import { randomInt } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { type Account, usersWithProcesses } from '../../plugins/lib/owned-processes.ts'
import { BUILD_USERS } from '../../plugins/lib/tenant-users.ts'

const { first: FIRST, last: LAST } = BUILD_USERS

/**
 * Draws a user for one build that owns and runs nothing else, so that its processes can be counted, limited and ended
 * together. Null when this process is not root and cannot change its user.
 *
 * @param builders uids of other builds
 */
export async function drawAccount(builders: readonly number[]): Promise<Account | null> {
  if (process.geteuid?.() !== 0) return null
  const taken = new Set([...builders, ...usersWithProcesses()])
  for (const line of (await readFile('/etc/passwd', 'utf8')).split('\n')) taken.add(Number(line.split(':')[2]))
  for (;;) {
    const number = randomInt(FIRST, LAST + 1)
    if (!taken.has(number)) return { uid: number, gid: number }
  }
}
