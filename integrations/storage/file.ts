import { createHash, randomUUID } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { link, mkdir, open, readdir, rename, rm, rmdir, stat, unlink } from 'node:fs/promises'
import { dirname, join, relative, sep } from 'node:path'
import { hasCode, nullIf } from '../../plugins/lib/errno.ts'
import { type Content, checkName, type Storage, StorageError, type Stored, type StoredObject } from './port.ts'

const UNFINISHED = /\.partial-[0-9a-f-]{36}$/
const DAY = 86_400_000

/**
 * Stores objects as files below a directory, which is created on the first write. An object is written under a
 * temporary name, synced to disk and then renamed, so that a crash or a full disk leaves no partial object.
 */
export function fileStorage(directory: string): Storage {
  const pathOf = (name: string) => join(directory, checkName(name))

  async function put(name: string, content: Content, signal?: AbortSignal): Promise<Stored> {
    const path = pathOf(name)
    const unfinished = `${path}.partial-${randomUUID()}`
    try {
      await mkdir(dirname(path), { recursive: true, mode: 0o700 })
      const stored = await write(unfinished, content, signal)
      await nameOnce(unfinished, path)
      await syncDirectory(dirname(path))
      return stored
    } catch (error) {
      await rm(unfinished, { force: true }).catch(() => {}) // the first error is the one that matters
      throw explain(error, name)
    }
  }

  async function get(name: string, signal?: AbortSignal) {
    const stream = createReadStream(pathOf(name), { highWaterMark: 256 * 1024, ...(signal && { signal }) })
    await new Promise<void>((opened, failed) => {
      stream.once('open', () => opened()).once('error', error => failed(explain(error, name)))
    })
    return stream
  }

  /** Searches only where names with this prefix can be: an archive has many files that other searches need not read. */
  async function files(prefix = ''): Promise<string[]> {
    const top = join(directory, prefix.slice(0, prefix.lastIndexOf('/') + 1))
    const entries = await readdir(top, { recursive: true, withFileTypes: true }).catch(nullIf('ENOENT', 'ENOTDIR'))
    return (entries ?? [])
      .filter(entry => entry.isFile())
      .map(entry => relative(directory, join(entry.parentPath, entry.name)).split(sep).join('/'))
      .sort()
  }

  return {
    description: `file://${directory}`,
    put,
    get,
    async list(prefix) {
      const names = (await files(prefix)).filter(name => name.startsWith(prefix) && !UNFINISHED.test(name))
      const found = await Promise.all(
        names.map(async (name): Promise<StoredObject | null> => {
          const facts = await stat(join(directory, name)).catch(nullIf('ENOENT'))
          return facts && { name, bytes: facts.size }
        })
      )
      return found.filter(object => object !== null)
    },
    async remove(name) {
      await unlink(pathOf(name)).catch(nullIf('ENOENT'))
      await rmdir(dirname(pathOf(name))).catch(nullIf('ENOENT', 'ENOTEMPTY', 'EEXIST'))
    },
    async tidy() {
      for (const name of (await files()).filter(name => UNFINISHED.test(name))) {
        const path = join(directory, name)
        const facts = await stat(path).catch(nullIf('ENOENT'))
        if (facts && Date.now() - facts.mtimeMs > DAY) await rm(path, { force: true })
      }
    }
  }
}

async function write(path: string, content: Content, signal?: AbortSignal): Promise<Stored> {
  const file = await open(path, 'wx', 0o600)
  try {
    const hash = createHash('sha256')
    let bytes = 0
    for await (const chunk of content) {
      signal?.throwIfAborted()
      await writeAll(file, chunk)
      hash.update(chunk)
      bytes += chunk.length
    }
    await file.sync()
    return { bytes, sha256: hash.digest('hex') }
  } finally {
    await file.close()
  }
}

/** A nearly full disk accepts part of a write without reporting an error. */
async function writeAll(file: Awaited<ReturnType<typeof open>>, chunk: Uint8Array): Promise<void> {
  for (let done = 0; done < chunk.length; ) {
    const { bytesWritten } = await file.write(chunk, done)
    done += bytesWritten
  }
}

/** `link` fails when the name is taken. Some network file systems have no links. */
async function nameOnce(from: string, to: string): Promise<void> {
  try {
    await link(from, to)
  } catch (error) {
    if (!hasCode(error, 'EPERM', 'ENOTSUP', 'ENOSYS')) throw error
    if ((await stat(to).catch(nullIf('ENOENT'))) !== null) throw new StorageError('exists', `${to} already exists`)
    await rename(from, to)
    return
  }
  await unlink(from)
}

async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r')
  await handle.sync().finally(() => handle.close())
}

function explain(error: unknown, name: string): unknown {
  const because = (failure: StorageError['failure'], message: string) =>
    new StorageError(failure, message, { cause: error })
  if (hasCode(error, 'ENOENT')) return because('missing', `${name} does not exist`)
  if (hasCode(error, 'EEXIST')) return because('exists', `${name} already exists`)
  if (hasCode(error, 'EACCES', 'EPERM', 'EROFS')) return because('denied', `${name}: ${(error as Error).message}`)
  if (hasCode(error, 'ENOSPC', 'EDQUOT')) return because('failed', `${name}: the disk is full`)
  return error
}
