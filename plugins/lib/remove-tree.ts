import { randomUUID } from 'node:crypto'
import { constants } from 'node:fs'
import {
  chmod,
  type FileHandle,
  lstat,
  mkdir,
  open,
  opendir,
  readdir,
  rename,
  rm,
  rmdir,
  unlink
} from 'node:fs/promises'
import { join } from 'node:path'
import { hasCode, nullIf } from './errno.ts'

interface Entry {
  readonly path: Buffer
  readonly isDirectory: boolean
}

const BYTES = { encoding: 'buffer' as BufferEncoding }
const ifGone = nullIf('ENOENT') as (error: unknown) => never

/** Number of directory entries removed concurrently. */
const BATCH = 64
/** Maximum attempts to empty a directory that is still being written to. */
const ATTEMPTS = 100

/**
 * Removes an untrusted tree that may still be changing. It is moved away at once, and no link is followed, whatever is
 * swapped meanwhile. A missing tree counts as removed.
 *
 * @param graveyard a directory on the same file system that only this process's user can enter; created if missing.
 *   After a crash, `emptyGraveyard` removes what is left
 */
export async function removeTree(tree: string, graveyard: string): Promise<void> {
  await mkdir(graveyard, { recursive: true, mode: 0o700 })
  const grave = join(graveyard, randomUUID())
  try {
    await moveTo(tree, grave)
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return
    throw error
  }
  await removeGrave(grave, graveyard)
}

/** Removes the remains of removals that a crash interrupted. */
export async function emptyGraveyard(graveyard: string): Promise<void> {
  const graves = (await readdir(graveyard).catch(nullIf('ENOENT'))) ?? []
  for (const grave of graves) await removeGrave(join(graveyard, grave), graveyard)
}

/**
 * Opens one directory at a time. Subdirectories are moved next to it instead of being walked into, so no path leads
 * through a directory that others may change, and the depth is unlimited.
 */
async function removeGrave(grave: string, graveyard: string): Promise<void> {
  if (process.platform !== 'linux') return await rm(grave, { recursive: true, force: true, maxRetries: 5 })
  const waiting = [grave]
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const directory = await openDirectory(next)
    if (directory === null) continue
    try {
      await empty(next, directory, graveyard, waiting)
    } finally {
      await directory.close()
    }
  }
}

async function empty(path: string, { fd }: FileHandle, graveyard: string, waiting: string[]): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    // The open directory itself, even if its name now refers to something else.
    await eachEntry(`/proc/self/fd/${fd}`, async entry => {
      if (!entry.isDirectory && (await tryUnlink(entry.path))) return
      const grave = join(graveyard, randomUUID())
      await moveTo(entry.path, grave)
      waiting.push(grave)
    })
    try {
      return await rmdir(path)
    } catch (error) {
      if (!hasCode(error, 'ENOTEMPTY', 'EEXIST') || attempt === ATTEMPTS) throw error
    }
  }
}

async function eachEntry(directory: string, work: (entry: Entry) => Promise<void>): Promise<void> {
  let batch: Promise<void>[] = []
  // File names may not be valid text.
  const entries: AsyncIterable<{ name: unknown; isDirectory(): boolean }> = await opendir(directory, BYTES)
  for await (const entry of entries) {
    const path = Buffer.concat([Buffer.from(`${directory}/`), entry.name as Buffer])
    batch.push(work({ path, isDirectory: entry.isDirectory() }).catch(ifGone))
    if (batch.length < BATCH) continue
    await Promise.all(batch)
    batch = []
  }
  await Promise.all(batch)
}

/** @returns false if it is a directory */
async function tryUnlink(path: Buffer): Promise<boolean> {
  try {
    await unlink(path)
    return true
  } catch (error) {
    if (hasCode(error, 'EISDIR', 'EPERM')) return false
    throw error
  }
}

async function moveTo(path: string | Buffer, grave: string): Promise<void> {
  try {
    await rename(path, grave)
  } catch (error) {
    if (!hasCode(error, 'EACCES')) throw error
    // Its owner removed the permissions; we are the owner, since this is not root.
    if ((await lstat(path)).isDirectory()) await chmod(path, 0o700)
    await rename(path, grave)
  }
}

/** Null if it is not a directory; it is unlinked then. */
async function openDirectory(path: string): Promise<FileHandle | null> {
  const flags = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW
  try {
    // In the graveyard, nothing can be swapped in its place.
    if (process.geteuid?.() !== 0 && (await lstat(path)).isDirectory()) await chmod(path, 0o700)
    return await open(path, flags)
  } catch (error) {
    if (!hasCode(error, 'ENOTDIR', 'ELOOP')) throw error
    await unlink(path)
    return null
  }
}
