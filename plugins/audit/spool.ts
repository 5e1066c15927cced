import { randomBytes } from 'node:crypto'
import { mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { AuditRow } from './row.ts'

/** Keeps rows that the sink cannot take now, in order, across process exits. */
export interface AuditSpool {
  /** Rejects when there is no room or the spool cannot be written. */
  append(rows: readonly AuditRow[]): Promise<void>
  /**
   * Passes each batch to `write`, oldest first, and removes it once that resolves. A batch may come again after a
   * crash, or from another app with the same spool; row ids identify duplicates. Rejects when `write` does.
   */
  replay(write: (rows: readonly AuditRow[]) => Promise<void>): Promise<void>
}

const SEGMENT = /^\d{15}-\d{6}-[0-9a-f]{8}\.json$/

/**
 * A spool of files in a directory, one per batch.
 *
 * @param maxBytes total size limit
 */
export function fileSpool(directory: string, maxBytes = 64 * 1024 * 1024): AuditSpool {
  const owner = randomBytes(4).toString('hex')
  let count = 0

  async function segments(): Promise<string[]> {
    const names = await readdir(directory).catch(error => {
      if (error.code === 'ENOENT') return []
      throw error
    })
    return names.filter(name => SEGMENT.test(name)).sort()
  }

  async function size(): Promise<number> {
    const sizes = (await segments()).map(name =>
      stat(join(directory, name)).then(
        ({ size }) => size,
        () => 0
      )
    )
    return (await Promise.all(sizes)).reduce((sum, bytes) => sum + bytes, 0)
  }

  return {
    async append(rows) {
      await mkdir(directory, { recursive: true, mode: 0o700 })
      const text = JSON.stringify(rows)
      if ((await size()) + Buffer.byteLength(text) > maxBytes) throw new Error(`${directory} holds ${maxBytes} bytes`)
      const order = [String(Date.now()).padStart(15, '0'), String(count++ % 1_000_000).padStart(6, '0'), owner]
      await writeDurably(join(directory, `${order.join('-')}.json`), text)
    },

    async replay(write) {
      for (const name of await segments()) {
        const path = join(directory, name)
        const text = await readFile(path, 'utf8').catch(() => null)
        // Another app was faster.
        if (text === null) continue
        const rows = parse(text)
        if (rows === undefined) await rename(path, `${path}.damaged`)
        else {
          await write(rows)
          await rm(path, { force: true })
        }
      }
    }
  }
}

/** Atomic: the complete file appears under its name, or none does. */
async function writeDurably(path: string, text: string): Promise<void> {
  const unfinished = `${path}.tmp`
  const file = await open(unfinished, 'w', 0o600)
  try {
    await file.writeFile(text)
    await file.sync()
  } finally {
    await file.close()
  }
  await rename(unfinished, path)
}

/** Undefined for a file that a failing disk has damaged. */
function parse(text: string): AuditRow[] | undefined {
  try {
    return (JSON.parse(text) as (AuditRow & { createdAt: string })[]).map(row => ({
      ...row,
      createdAt: new Date(row.createdAt)
    }))
  } catch {
    return undefined
  }
}
