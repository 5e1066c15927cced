import type { Storage } from '../../../integrations/storage/index.ts'
import type { BackupKeep } from '../../config/backups.ts'
import { type Backup, isVerified, listBackups } from './catalogue.ts'
import { BEGUN, DATA, DESCRIPTOR, KEYS, objectOf } from './names.ts'

/** Minimum number of verified backups to keep. */
export const LEAST_VERIFIED = 3
const DAY = 86_400_000
/** An unfinished backup this much older than the newest one has been abandoned. */
const ABANDONED = 2 * DAY

export interface Pruning {
  readonly kept: readonly string[]
  readonly removed: readonly string[]
}

/**
 * Removes an installation's expired backups. Those of other installations in the same storage are never touched: each
 * backup names its installation.
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
    // The descriptor goes first: an interrupted removal then leaves an unfinished backup rather than a damaged one.
    for (const part of [DESCRIPTOR, DATA, KEYS, BEGUN]) await storage.remove(objectOf(id, part), signal)
  }
  await storage.tidy(signal)
  const gone = new Set(removed)
  return { kept: own.filter(backup => !gone.has(backup)).map(({ id }) => id), removed: removed.map(({ id }) => id) }
}

/**
 * Selects the backups to remove. The newest one of each of the last so many days, weeks and months with backups stays.
 * Ages are compared with each other, not with this machine's clock, which may be wrong.
 * @param own all backups of one installation
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
  // A damaged backup may be worth examining until a sound one is as new.
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
