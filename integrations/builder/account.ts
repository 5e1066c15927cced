import { randomInt } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { type Account, usersWithProcesses } from '../../plugins/lib/owned-processes.ts'

/** Users that have no name: systemd gives numbers of this range to services for as long as they run. */
const FIRST = 61_184
const LAST = 65_519

/**
 * A user for one build, that owns nothing else and runs nothing else: so its processes can be counted, limited and ended
 * as one. Null where this process is not root, and can be nobody but itself.
 *
 * @param builders who are other builds' users
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
