import { access, constants, writeFile } from 'node:fs/promises'
import { DatabaseSync } from 'node:sqlite'
import { nullIf } from './errno.ts'

export interface ExclusiveLock {
  release(): void
}

const SQLITE_BUSY = 5

/**
 * The lock of this name, or null while another process has it.
 *
 * It is the kernel's: it ends with its process, however that ends, so there are no stale locks to judge. Node has access
 * to it only through SQLite, whose exclusive transaction holds one on its file; the file itself stays empty.
 */
export async function acquireLock(path: string): Promise<ExclusiveLock | null> {
  // Never opened but by SQLite: closing any other descriptor of it would give up a lock that this process holds.
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
