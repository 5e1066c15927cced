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

/** Entries of a directory that are removed at the same time. */
const BATCH = 64
/** How often a directory is emptied that something still writes to. */
const ATTEMPTS = 100

/**
 * Removes a tree that somebody else has written, who may still be changing it: it is out of its place at once, and no
 * link is followed, whatever is swapped for what meanwhile. What does not exist is removed already.
 *
 * @param graveyard a directory on the same file system that only this process's user can enter; it is made when missing.
 *   After a crash, `emptyGraveyard` removes the rest
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

/** Removes what a crash has left of trees that were being removed. */
export async function emptyGraveyard(graveyard: string): Promise<void> {
  const graves = (await readdir(graveyard).catch(nullIf('ENOENT'))) ?? []
  for (const grave of graves) await removeGrave(join(graveyard, grave), graveyard)
}

/**
 * One directory is open at a time. Its directories are moved beside it rather than walked into, so that no path leads
 * through what somebody may change, and no depth is too deep.
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
    // The open directory itself, whatever its name leads to by now.
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
  // Names need not be text.
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

/** @returns false when it is a directory */
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
    // Its owner has locked it; and we are its owner, since this is not root.
    if ((await lstat(path)).isDirectory()) await chmod(path, 0o700)
    await rename(path, grave)
  }
}

/** Null when it turns out to be no directory; then it is gone afterwards. */
async function openDirectory(path: string): Promise<FileHandle | null> {
  const flags = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW
  try {
    // In the graveyard nobody puts anything else in its place.
    if (process.geteuid?.() !== 0 && (await lstat(path)).isDirectory()) await chmod(path, 0o700)
    return await open(path, flags)
  } catch (error) {
    if (!hasCode(error, 'ENOTDIR', 'ELOOP')) throw error
    await unlink(path)
    return null
  }
}
