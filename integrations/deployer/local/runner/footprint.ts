import { readdirSync, readlinkSync, type Stats, statSync } from 'node:fs'
import { lstat, opendir } from 'node:fs/promises'
import { hasCode, nullIf } from '../../../../plugins/lib/errno.ts'
import type { Account } from '../../../../plugins/lib/owned-processes.ts'

/** A file system in memory. */
const MEMORY_DIRECTORY = '/dev/shm'
const BLOCK = 512

export interface TreeSize {
  readonly bytes: number
  readonly files: number
}

/**
 * Bytes of memory that processes hold as files: by `memfd_create` and in `/dev/shm`, including unlinked and unmapped
 * ones. The memory figures of the processes do not include them.
 */
export function memoryInFiles(pids: readonly number[], account: Account | null): number {
  if (process.platform !== 'linux') return 0
  const sizes = new Map<string, number>()
  const add = ({ dev, ino, blocks }: Stats) => sizes.set(`${dev}:${ino}`, blocks * BLOCK)
  for (const path of pids.flatMap(openFilesOf)) {
    const found = IN_MEMORY.test(linkOf(path)) ? statOf(path) : null
    if (found !== null) add(found)
  }
  if (account !== null)
    for (const name of namesIn(MEMORY_DIRECTORY)) {
      const found = statOf(`${MEMORY_DIRECTORY}/${name}`)
      if (found?.uid === account.uid) add(found)
    }
  return [...sizes.values()].reduce((sum, size) => sum + size, 0)
}

/** Measures a tree, stopping once it exceeds `limit`; does not follow links. */
export async function sizeOfTree(root: string, limit: TreeSize): Promise<TreeSize> {
  let [bytes, files] = [0, 0]
  const waiting = [root]
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const directory = await opendir(next).catch(nullIf('ENOENT', 'ENOTDIR', 'EACCES', 'ELOOP'))
    if (directory === null) continue
    for await (const { name } of directory) {
      const path = `${next}/${name}`
      const found = await lstat(path).catch(nullIf('ENOENT', 'ENOTDIR'))
      if (found === null) continue
      bytes += found.blocks * BLOCK
      files += 1
      if (found.isDirectory()) waiting.push(path)
      if (bytes > limit.bytes || files > limit.files) return { bytes, files }
    }
  }
  return { bytes, files }
}

/** The kernel's names for such files. No app can create a file with the first prefix anywhere else. */
const IN_MEMORY = /^\/(memfd:|dev\/shm\/)/

const openFilesOf = (pid: number) => namesIn(`/proc/${pid}/fd`).map(name => `/proc/${pid}/fd/${name}`)

const GONE = ['ENOENT', 'ESRCH', 'EACCES', 'EPERM', 'ELOOP', 'ENXIO']

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory)
  } catch (error) {
    if (hasCode(error, ...GONE)) return []
    throw error
  }
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path)
  } catch (error) {
    if (hasCode(error, ...GONE)) return ''
    throw error
  }
}

function statOf(path: string): Stats | null {
  try {
    return statSync(path)
  } catch (error) {
    if (hasCode(error, ...GONE)) return null
    throw error
  }
}
