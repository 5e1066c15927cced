import { mkdir, open } from 'node:fs/promises'
import { dirname, join, normalize } from 'node:path'
import { readTar } from '../../../plugins/lib/tar.ts'

/**
 * Writes the files of an archive below a directory, without holding one in memory.
 *
 * @throws Error when the archive is cut off, or contains anything but files and directories
 */
export async function unpackTo(directory: string, archive: AsyncIterable<Buffer>): Promise<void> {
  for await (const { path: name, type, content } of readTar(archive)) {
    const path = join(directory, within(name))
    if (type === 'directory') await mkdir(path, { recursive: true, mode: 0o700 })
    else if (type === 'file') await write(path, content)
    else throw new Error(`"${name}" is neither a file nor a directory`)
  }
}

/** A name that leads out of the directory is refused. */
function within(name: string): string {
  const path = normalize(name)
  if (path.startsWith('/') || path === '..' || path.startsWith('../'))
    throw new Error(`"${name}" points outside the directory`)
  return path
}

async function write(path: string, content: AsyncIterable<Buffer>): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  const file = await open(path, 'wx', 0o600)
  try {
    for await (const piece of content) await file.writeFile(piece)
    await file.sync()
  } finally {
    await file.close()
  }
}
