import { access, constants, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { EmbeddedPostgresError, nullIf } from './errors.ts'

export interface OwnerLock {
  release(): void
}

const SQLITE_BUSY = 5

/**
 * Makes this process the one owner of `directory`, or throws a sentence that names the owner.
 *
 * The lock is the kernel's: it ends with its process, however that ends, so there are no stale locks to judge. Node has
 * access to it only through SQLite, whose exclusive transaction holds one on its file; the file itself stays empty.
 */
export async function acquireOwnerLock(directory: string): Promise<OwnerLock> {
  const lockFile = join(directory, 'owner.lock')
  const pidFile = join(directory, 'owner.pid')
  // Never opened but by SQLite: closing any other descriptor of it would give up a lock that this process holds.
  await writeFile(lockFile, '', { flag: 'wx', mode: 0o600 }).catch(nullIf('EEXIST'))
  await access(lockFile, constants.R_OK | constants.W_OK)
  const lock = lockExclusively(lockFile)
  if (!lock) {
    const pid = await readFile(pidFile, 'utf8').catch(nullIf('ENOENT'))
    throw new EmbeddedPostgresError(
      `${directory} is in use by another server (pid ${pid}): stop that one, or set DATA_DIR to another directory.`
    )
  }
  try {
    await writeFile(pidFile, String(process.pid))
  } catch (error) {
    lock.close()
    throw error
  }
  return { release: () => lock.close() }
}

function lockExclusively(path: string): DatabaseSync | null {
  const database = new DatabaseSync(path)
  try {
    database.exec('PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE')
    return database
  } catch (error) {
    database.close()
    if ((error as { errcode?: number }).errcode === SQLITE_BUSY) return null
    throw error
  }
}
