import { access, constants, writeFile } from 'node:fs/promises'
import { DatabaseSync } from 'node:sqlite'
import { nullIf } from './errno.ts'

export interface ExclusiveLock {
  release(): void
}

const SQLITE_BUSY = 5

/**
 * Acquires the lock of this name; null while another process holds it.
 *
 * The kernel owns the lock and releases it when the process ends for any reason, so there are no stale locks. Node can
 * reach such locks only through SQLite, whose exclusive transaction locks its file; the file itself stays empty.
 */
export async function acquireLock(path: string): Promise<ExclusiveLock | null> {
  // Only SQLite may open it: closing any other descriptor of the file would release a lock that this process holds.
  await writeFile(path, '', { flag: 'wx', mode: 0o600 }).catch(nullIf('EEXIST'))
  await access(path, constants.R_OK | constants.W_OK)
  const database = new DatabaseSync(path)
  try {
    database.exec('PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE')
    return { release: () => database.close() }
  } catch (error) {
    database.close()
    if ((error as { errcode?: number }).errcode === SQLITE_BUSY) return null
    throw error
  }
}
