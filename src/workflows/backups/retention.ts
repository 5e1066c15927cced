import type { Storage } from '../../../integrations/storage/index.ts'
import type { BackupKeep } from '../../config/backups.ts'
import { type Backup, isVerified, listBackups } from './catalogue.ts'
import { BEGUN, DATA, DESCRIPTOR, KEYS, objectOf } from './names.ts'

/** However little is to be kept, this many verified backups are left. */
export const LEAST_VERIFIED = 3
const DAY = 86_400_000
/** An unfinished backup this much older than the newest one is not being made any more. */
const ABANDONED = 2 * DAY

export interface Pruning {
  readonly kept: readonly string[]
  readonly removed: readonly string[]
}

/**
 * Removes the backups of one installation that need not be kept. Others in the same place are never touched: whose a
 * backup is stands in it.
 *
 * @throws StorageError when the credentials have no right to delete
 */
export async function pruneBackups(
  storage: Storage,
  installation: string,
  keep: BackupKeep,
  signal?: AbortSignal
): Promise<Pruning> {
  const own = (await listBackups(storage, undefined, signal)).filter(backup => backup.installation === installation)
  const removed = expendable(own, keep)
  for (const { id } of removed) {
    signal?.throwIfAborted()
    // First the descriptor: cut off in between, it is unfinished rather than damaged.
    for (const part of [DESCRIPTOR, DATA, KEYS, BEGUN]) await storage.remove(objectOf(id, part), signal)
  }
  await storage.tidy(signal)
  const gone = new Set(removed)
  return { kept: own.filter(backup => !gone.has(backup)).map(({ id }) => id), removed: removed.map(({ id }) => id) }
}

/**
 * Which backups need not be kept. The newest of each of the last so many days, weeks and months that have one stay.
 * Ages are not compared with this machine's clock, which may be wrong, but with each other.
 *
 * @param own all of one installation
 */
export function expendable(own: readonly Backup[], keep: BackupKeep): Backup[] {
  const verified = own.filter(isVerified).sort((a, b) => b.takenAt.getTime() - a.takenAt.getTime())
  const kept = new Set<Backup>([
    ...verified.slice(0, LEAST_VERIFIED),
    ...newestOf(verified, dayOf, keep.days),
    ...newestOf(verified, weekOf, keep.weeks),
    ...newestOf(verified, monthOf, keep.months)
  ])
  const newest = verified[0]
  // What is wrong with a damaged one may be worth a look while there is nothing as new that is sound.
  return own.filter(backup => {
    if (isVerified(backup)) return !kept.has(backup)
    if (newest === undefined) return false
    return newest.takenAt.getTime() - backup.takenAt.getTime() > ABANDONED
  })
}

/** The newest backup of each of the latest `count` periods. */
function newestOf(newestFirst: readonly Backup[], periodOf: (at: Date) => string, count: number): Backup[] {
  const newest = new Map<string, Backup>()
  for (const backup of newestFirst) {
    const period = periodOf(backup.takenAt)
    if (!newest.has(period)) newest.set(period, backup)
  }
  return [...newest.values()].slice(0, count)
}

const dayOf = (at: Date) => at.toISOString().slice(0, 10)
const monthOf = (at: Date) => at.toISOString().slice(0, 7)
/** Weeks begin on Monday; the first of January 1970 was a Thursday. */
const weekOf = (at: Date) => String(Math.floor((at.getTime() / DAY + 3) / 7))
