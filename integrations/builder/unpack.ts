import { mkdir, open, symlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { ARCHIVE_LIMITS, readSourceArchive, TarError } from '../../plugins/lib/source-archive.ts'
import type { TarEntry } from '../../plugins/lib/tar.ts'
import { type ArchiveSource, BuildError } from './port.ts'
import type { Sandbox } from './sandbox.ts'
import { findEscape } from './tree.ts'

/**
 * Unpacks an uploaded source into an empty directory. Repeats all checks made on upload.
 * @param disk bytes of disk that the build may use
 * @throws BuildError when the archive is refused, or no longer stored
 */
export async function unpack(source: ArchiveSource, directory: string, sandbox: Sandbox, disk: number): Promise<void> {
  sandbox.note('Unpacking the uploaded source\n')
  await mkdir(directory, { recursive: true, mode: 0o700 })
  const limits = { ...ARCHIVE_LIMITS, bytes: Math.min(ARCHIVE_LIMITS.bytes, disk) }
  let files = 0
  try {
    for await (const entry of readSourceArchive(source.read(), limits)) {
      sandbox.signal.throwIfAborted()
      await put(directory, entry)
      if (entry.type === 'file') files++
    }
  } catch (error) {
    if (error instanceof TarError) throw new BuildError(error.message)
    throw error
  }
  const leak = await findEscape(directory)
  if (leak !== null) throw new BuildError(`The link ${JSON.stringify(leak)} points outside the app's folder.`)
  sandbox.note(`Unpacked ${files} ${files === 1 ? 'file' : 'files'}\n`)
}

/** No part of the path is a link: the reader refuses such archives, and the directory was empty. */
async function put(directory: string, { path, type, isExecutable, target = '', content }: TarEntry): Promise<void> {
  const place = join(directory, path)
  await mkdir(type === 'directory' ? place : dirname(place), { recursive: true, mode: 0o755 })
  if (type === 'link') return symlink(target, place)
  if (type === 'directory') return
  const file = await open(place, 'wx', isExecutable ? 0o755 : 0o644)
  try {
    for await (const chunk of content) await file.writeFile(chunk)
  } finally {
    await file.close()
  }
}
