import { randomUUID } from 'node:crypto'
import { open, rename, rm } from 'node:fs/promises'
import { SourceError } from './port.ts'

/**
 * Replaces a file atomically: readers see the old or the new content, never a part.
 * @throws SourceError that names the file
 */
export async function replaceFile(path: string, content: string): Promise<void> {
  const unfinished = `${path}.${randomUUID()}`
  try {
    const file = await open(unfinished, 'wx', 0o600)
    try {
      await file.writeFile(`${content}\n`)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(unfinished, path)
  } catch (error) {
    await rm(unfinished, { force: true })
    throw new SourceError(`${path}: cannot be written (${(error as NodeJS.ErrnoException).code})`)
  }
}
