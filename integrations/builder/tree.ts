import { createHash, type Hash } from 'node:crypto'
import { constants, createReadStream, type Stats } from 'node:fs'
import {
  chmod,
  copyFile,
  lchown,
  lstat,
  open,
  readdir,
  readFile,
  readlink,
  realpath,
  rename,
  rm
} from 'node:fs/promises'
import { isAbsolute, join, relative } from 'node:path'
import { nullIf } from '../../plugins/lib/errno.ts'
import type { Account } from '../../plugins/lib/owned-processes.ts'
import { BuildError } from './port.ts'

/**
 * A path within a tree, one character per byte: git and builds create names that are not valid text. Comparing and
 * sorting names yields byte order.
 */
type Name = string

interface Entry {
  readonly name: Name
  /** The path for file system calls. */
  readonly path: Buffer
  readonly stats: Stats
}

/** Number of files examined or changed concurrently: most of the cost is waking a thread. */
const AT_ONCE = 32
/** Maximum bytes of a file that is read whole, and ahead of its turn. */
const SMALL = 65_536

const bytes = (name: Name) => Buffer.from(name, 'latin1')
const nameOf = (path: string): Name => Buffer.from(path).toString('latin1')

/**
 * Yields everything in a tree but its root, names in order and each directory before its contents. Does not follow
 * links, and skips entries that disappear meanwhile.
 */
async function* walk(root: string, below: Name = '', ifUnreadable = nullIfGone): AsyncGenerator<Entry> {
  const names = await readdir(bytes(nameOf(root) + below), { encoding: 'latin1' }).catch(ifUnreadable)
  const entries = (names?.sort() ?? []).map(name => async (): Promise<Entry | null> => {
    const path = bytes(`${nameOf(root)}${below}/${name}`)
    const stats = await lstat(path).catch(ifUnreadable)
    return stats === null ? null : { name: `${below}/${name}`, path, stats }
  })
  for await (const entry of ahead(entries)) {
    if (entry === null) continue
    yield entry
    if (entry.stats.isDirectory()) yield* walk(root, entry.name, ifUnreadable)
  }
}

/** Yields the results of tasks in order, starting the next ones early. */
async function* ahead<T>(tasks: Iterable<() => Promise<T>> | AsyncIterable<() => Promise<T>>): AsyncGenerator<T> {
  const begun: Promise<T>[] = []
  for await (const task of tasks) {
    const result = task()
    result.catch(() => {}) // it is awaited in its turn
    begun.push(result)
    if (begun.length >= AT_ONCE) yield await begun.shift()!
  }
  for (const result of begun) yield await result
}

/** The visible disk usage of a tree, in bytes. */
export async function sizeOf(root: string): Promise<number> {
  let size = 0
  for await (const { stats } of walk(root, '', nullIfUnreadable)) size += stats.blocks * 512
  return size
}

/** Changes the owner of a tree, including its links but not their targets. */
export async function chownTree(root: string, { uid, gid }: Account): Promise<void> {
  await lchown(root, uid, gid)
  for await (const { path } of walk(root)) await lchown(path, uid, gid)
}

/** Whether any file has a second hard link, which may be outside the tree. */
export async function hasHardLinks(root: string): Promise<boolean> {
  for await (const { stats } of walk(root)) if (!stats.isDirectory() && stats.nlink > 1) return true
  return false
}

/**
 * The first link that leads out of a tree, whether or not its target exists: following it would read files that are not
 * the app's.
 */
export async function findEscape(root: string): Promise<string | null> {
  const home = await realpath(root)
  for await (const { name, path, stats } of walk(root)) {
    if (!stats.isSymbolicLink()) continue
    const target = await readlink(path, 'latin1')
    const real = await realpath(path, 'latin1').catch(nullIfGone)
    const isInside = !isAbsolute(target) && isBelow(join(name.slice(1), '..', target))
    if (!isInside || (real !== null && !isBelow(relative(nameOf(home), real)))) return bytes(name.slice(1)).toString()
  }
  return null
}

const isBelow = (way: string) => way !== '..' && !way.startsWith('../') && !isAbsolute(way)

/**
 * Makes a finished tree immutable: it becomes ours, files lose their write permissions and keep only the executable
 * bit, and anything but files, directories and links is removed.
 */
export async function makeImmutable(root: string): Promise<void> {
  await settle(root, 0o755)
  let files: Promise<void>[] = []
  for await (const entry of walk(root)) {
    // Directories before their contents. They stay writable for their owner, so that people can delete an old data
    // directory as usual.
    if (entry.stats.isDirectory()) await settle(entry.path, 0o755)
    else files.push(settleFile(entry))
    if (files.length < AT_ONCE) continue
    await Promise.all(files)
    files = []
  }
  await Promise.all(files)
}

async function settleFile(entry: Entry): Promise<void> {
  const { path, stats } = entry
  if (stats.isSymbolicLink()) await own(path)
  else if (!stats.isFile()) await rm(path)
  else {
    await detach(entry)
    await settle(path, stats.mode & 0o111 ? 0o555 : 0o444)
  }
}

async function settle(path: Buffer | string, mode: number): Promise<void> {
  await own(path)
  await chmod(path, mode)
}

async function own(path: Buffer | string): Promise<void> {
  if (process.geteuid?.() === 0) await lchown(path, 0, 0)
}

/** Replaces a file that has several hard links by a copy, since another link may be outside of the tree. */
async function detach({ path, stats }: Entry): Promise<void> {
  if (!stats.isFile() || stats.nlink === 1) return
  const copy = Buffer.concat([path, Buffer.from('.rhone-copy')])
  await copyFile(path, copy, constants.COPYFILE_EXCL)
  await chmod(copy, stats.mode & 0o777)
  await rename(copy, path)
}

/** SHA-256 of a tree in hexadecimal, over names, types, executable bits and contents. */
export async function digestOf(root: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const [entry, content] of ahead(contentsOf(root))) await add(hash, entry, content)
  return hash.digest('hex')
}

/** The content of files small enough to be read ahead; null for the others. */
async function* contentsOf(root: string): AsyncGenerator<() => Promise<[Entry, Buffer | null]>> {
  for await (const entry of walk(root)) yield async () => [entry, await contentOf(entry)]
}

async function contentOf({ path, stats }: Entry): Promise<Buffer | null> {
  if (stats.isSymbolicLink()) return readlink(path, { encoding: 'buffer' })
  return stats.isFile() && stats.size <= SMALL ? readFile(path) : null
}

async function add(hash: Hash, { name, path, stats }: Entry, content: Buffer | null): Promise<void> {
  const head = (kind: string, size: number) => hash.update(`${kind} ${size} ${name.length}\0`).update(bytes(name))
  if (stats.isDirectory()) head('directory', 0)
  else if (stats.isSymbolicLink()) head('link', content!.length).update(content!)
  else {
    head(stats.mode & 0o111 ? 'program' : 'file', stats.size)
    if (content !== null) hash.update(content)
    else for await (const chunk of createReadStream(path)) hash.update(chunk)
  }
}

/**
 * Reads a regular file as text; null when there is none.
 * @throws BuildError when it exceeds the limit in megabytes
 */
export async function readSmallFile(directory: string, name: string, megabytes = 1): Promise<string | null> {
  const path = join(directory, name)
  const stats = await lstat(path).catch(nullIfGone)
  if (!stats?.isFile()) return null
  if (stats.size > megabytes * 1_048_576)
    throw new BuildError(`${name} is longer than ${megabytes === 1 ? 'a megabyte' : `${megabytes} megabytes`}.`)
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW)
  try {
    return textOf(await file.readFile())
  } finally {
    await file.close()
  }
}

/** Decodes text as editors and shells write it: UTF-8, with or without a byte order mark, or UTF-16 with one. */
function textOf(bytes: Buffer): string {
  const mark = bytes.length >= 2 ? bytes.readUInt16BE(0) : 0
  const encoding = mark === 0xfffe ? 'utf-16le' : mark === 0xfeff ? 'utf-16be' : 'utf-8'
  return new TextDecoder(encoding).decode(bytes)
}

const GONE = ['ENOENT', 'ENOTDIR', 'ELOOP']
const nullIfGone = nullIf(...GONE)
const nullIfUnreadable = nullIf(...GONE, 'EACCES')
