import { copyFile, open, stat, truncate } from 'node:fs/promises'
import { nullIf } from '../../plugins/lib/errno.ts'

const LIMIT_BYTES = 10 * 1024 * 1024
const TAIL_BYTES = 8 * 1024
const TAIL_LINES = 10

/**
 * Bounds a log that its writer keeps open for appending: a full log is copied to `.1` and truncated, and the writer
 * continues at zero.
 */
export async function boundLog(path: string, limit = LIMIT_BYTES): Promise<void> {
  const size = await sizeOf(path)
  if (size <= limit) return
  await copyFile(path, `${path}.1`)
  await truncate(path)
}

export async function sizeOf(path: string): Promise<number> {
  return (await stat(path).catch(nullIf('ENOENT')))?.size ?? 0
}

/** The last lines written after byte `from`. */
export async function tailLog(path: string, from: number): Promise<string> {
  const file = await open(path)
  try {
    const { size } = await file.stat()
    const start = Math.max(Math.min(from, size), size - TAIL_BYTES)
    const { buffer, bytesRead } = await file.read({ buffer: Buffer.alloc(size - start), position: start })
    return buffer.toString('utf8', 0, bytesRead).trimEnd().split('\n').slice(-TAIL_LINES).join('\n')
  } finally {
    await file.close()
  }
}
