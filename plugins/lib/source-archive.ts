import { createGunzip } from 'node:zlib'
import { readTar, type TarEntry, TarError } from './tar.ts'

/** Limits on the source of an app, packed as a gzipped tar archive. */
export interface ArchiveLimits {
  /** Total bytes of all files, unpacked. */
  readonly bytes: number
  /** Files, directories and links. */
  readonly entries: number
}

export const ARCHIVE_LIMITS: ArchiveLimits = { bytes: 1_073_741_824, entries: 50_000 }

/** Linux's limits for a whole path and for one of its components. */
const LONGEST_PATH = 1_024
const LONGEST_PART = 255
const DEEPEST = 64
/** Maximum bytes of headers and padding per entry, on average. */
const OVERHEAD = 4_096

export { TarError } from './tar.ts'

/**
 * Reads an app's source from a gzipped tar archive as it arrives. Refuses entries that could reach outside the
 * destination folder, or that could be read in two ways.
 * @throws TarError with a sentence for the author of the archive
 */
export async function* readSourceArchive(
  chunks: AsyncIterable<Uint8Array>,
  limits: ArchiveLimits = ARCHIVE_LIMITS
): AsyncGenerator<TarEntry> {
  const tree = new Map<string, TarEntry['type']>()
  let bytes = 0
  let hasFile = false
  for await (const entry of readTar(unzipped(chunks, limits.bytes + limits.entries * OVERHEAD))) {
    const path = safePath(entry.path)
    if (path === '') continue // the root itself, which `tar -C folder .` includes
    if (tree.size >= limits.entries) throw new TarError(`The archive has more than ${limits.entries} entries.`)
    bytes += entry.size
    if (bytes > limits.bytes)
      throw new TarError(`The archive has more than ${Math.floor(limits.bytes / 1_048_576)} MiB of files.`)
    place(tree, path, entry)
    hasFile ||= entry.type === 'file'
    yield { ...entry, path }
  }
  if (!hasFile) throw new TarError('The archive contains no files.')
}

async function* unzipped(chunks: AsyncIterable<Uint8Array>, most: number): AsyncGenerator<Uint8Array> {
  const gunzip = createGunzip()
  const feeding = feed(chunks, gunzip)
  let bytes = 0
  try {
    for await (const chunk of gunzip) {
      bytes += (chunk as Uint8Array).length
      if (bytes > most) throw new TarError('The archive is much larger than its files.')
      yield chunk as Uint8Array
    }
  } catch (error) {
    if (/^Z_/.test((error as NodeJS.ErrnoException).code ?? ''))
      throw new TarError('The archive is not compressed with gzip, or is damaged or truncated.')
    throw error
  } finally {
    gunzip.destroy()
    await feeding
  }
}

/** Propagates a failure of the source, and stops when the reader stops. */
async function feed(chunks: AsyncIterable<Uint8Array>, gunzip: ReturnType<typeof createGunzip>): Promise<void> {
  try {
    for await (const chunk of chunks) {
      if (gunzip.destroyed) return
      if (!gunzip.write(chunk)) await roomIn(gunzip)
    }
    gunzip.end()
  } catch (error) {
    gunzip.destroy(error as Error)
  }
}

function roomIn(gunzip: ReturnType<typeof createGunzip>): Promise<void> {
  return new Promise(resolve => {
    const done = () => {
      gunzip.off('drain', done).off('close', done)
      resolve()
    }
    gunzip.once('drain', done).once('close', done)
  })
}

/** The path without a leading `./` and a trailing `/`. @throws TarError if it may lead outside the folder */
function safePath(path: string): string {
  const shown = JSON.stringify(path.slice(0, 200))
  if (path.startsWith('/'))
    throw new TarError(`The path ${shown} is absolute: paths must be relative to the app's folder.`)
  if (/[\p{Cc}\\]/u.test(path)) throw new TarError(`The path ${shown} contains control characters or backslashes.`)
  const parts = path.split('/').filter(part => part !== '' && part !== '.')
  if (parts.includes('..')) throw new TarError(`The path ${shown} points outside the app's folder.`)
  const isTooLong = Buffer.byteLength(path) > LONGEST_PATH || parts.some(part => Buffer.byteLength(part) > LONGEST_PART)
  if (isTooLong || parts.length > DEEPEST) throw new TarError(`The path ${shown} is too long or too deep.`)
  if (parts.some(part => part.toLowerCase() === '.git'))
    throw new TarError(`The path ${shown} is in a .git folder: leave that folder out.`)
  return parts.join('/')
}

/** Adds an entry to the tree. @throws TarError if it exists already, or its parent is not a directory */
function place(tree: Map<string, TarEntry['type']>, path: string, { type, target = '' }: TarEntry): void {
  const shown = JSON.stringify(path)
  for (let end = path.indexOf('/'); end > 0; end = path.indexOf('/', end + 1)) {
    const parent = tree.get(path.slice(0, end)) ?? 'directory'
    if (parent !== 'directory') throw new TarError(`The path ${shown} goes through a ${parent}.`)
    tree.set(path.slice(0, end), 'directory')
  }
  const before = tree.get(path)
  if (before !== undefined && !(before === 'directory' && type === 'directory'))
    throw new TarError(`The path ${shown} is in the archive twice.`)
  if (type === 'link' && leadsOut(path, target))
    throw new TarError(`The link ${shown} points outside the app's folder.`)
  tree.set(path, type)
}

/** Whether a link's own text leads out of the tree. Chains of links are checked once they are unpacked. */
function leadsOut(path: string, target: string): boolean {
  if (target === '' || target.startsWith('/') || target.includes('\0')) return true
  let depth = path.split('/').length - 1
  for (const part of target.split('/')) {
    if (part === '..') depth--
    else if (part !== '' && part !== '.') depth++
    if (depth < 0) return true
  }
  return false
}
