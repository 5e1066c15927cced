import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { nullIf } from '../../plugins/lib/errno.ts'
import { acquireLock, type ExclusiveLock } from '../../plugins/lib/exclusive-lock.ts'
import { EmbeddedPostgresError } from './errors.ts'

/** Makes this process the only owner of `directory`, or throws an error that names the owner. */
export async function acquireOwnerLock(directory: string): Promise<ExclusiveLock> {
  const pidFile = join(directory, 'owner.pid')
  const lock = await acquireLock(join(directory, 'owner.lock'))
  if (!lock) {
    const pid = await readFile(pidFile, 'utf8').catch(nullIf('ENOENT'))
    throw new EmbeddedPostgresError(
      `${directory} is in use by another server (pid ${pid}): stop that one, or set DATA_DIR to another directory.`
    )
  }
  try {
    await writeFile(pidFile, String(process.pid))
  } catch (error) {
    lock.release()
    throw error
  }
  return lock
}
