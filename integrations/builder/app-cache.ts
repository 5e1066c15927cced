import { lstat, mkdir, readdir, rename, statfs, utimes } from 'node:fs/promises'
import { join } from 'node:path'
import { hasCode, nullIf } from '../../plugins/lib/errno.ts'
import { removeTree } from '../../plugins/lib/remove-tree.ts'
import { graveyardOf } from './workspace.ts'

export interface CacheLimits {
  /** Total bytes of all entries; one entry may use a quarter of them. 0 keeps none. */
  readonly bytes: number
  /** Number of apps with an entry. */
  readonly apps: number
  /** Bytes of disk space to leave free. */
  readonly spare: number
}

export interface CacheEntry {
  readonly path: string
  readonly appId: string
  readonly bytes: number
  /** What the entry is valid for; empty if it is always valid. */
  readonly key: string
  /** When its app was last built with it, in milliseconds since 1970. */
  readonly usedAt: number
}

/** The maximum fraction of all bytes for one app. */
const LARGEST = 0.25
const NAME = /^([0-9a-z][0-9a-z-]{0,62})\.(\d{1,15})(?:\.([0-9a-f]{64}))?$/

/**
 * Keeps one file or directory per app from one build to the next, within limits. Entries are moved in and out by
 * renaming, so none is ever incomplete.
 */
export class AppCache {
  readonly directory: string
  readonly #graveyard: string
  readonly #limits: CacheLimits

  constructor(dataDir: string, name: string, limits: CacheLimits) {
    this.directory = join(dataDir, name)
    this.#graveyard = graveyardOf(dataDir)
    this.#limits = limits
  }

  /** Maximum size of an entry in bytes. */
  get largest(): number {
    return this.#limits.bytes * LARGEST
  }

  async entriesOf(id: string): Promise<CacheEntry[]> {
    return (await this.#entries()).filter(({ appId }) => appId === id)
  }

  /** Moves this file or directory here, replacing the app's entry, if there is room. */
  async keep(appId: string, path: string, bytes: number, key = ''): Promise<void> {
    if (bytes > this.largest) return
    // Closed to other users: user numbers are drawn for each build, and may be reused.
    await mkdir(this.directory, { recursive: true, mode: 0o700 })
    const now = new Date()
    await utimes(path, now, now)
    await this.drop(appId)
    const name = [appId, bytes, ...(key === '' ? [] : [key])].join('.')
    await rename(path, join(this.directory, name)).catch(error => {
      // Another build of this app has stored an equal one.
      if (!hasCode(error, 'ENOTEMPTY', 'EEXIST')) throw error
    })
    await this.#shrink()
  }

  /** Removes an app's entry. */
  async drop(appId: string): Promise<void> {
    for (const { path } of await this.entriesOf(appId)) await this.remove(path)
  }

  remove(path: string): Promise<void> {
    return removeTree(path, this.#graveyard)
  }

  /** Removes the least recently used entries. */
  async #shrink(): Promise<void> {
    const { bytes, apps, spare } = this.#limits
    const entries = (await this.#entries()).sort((one, other) => other.usedAt - one.usedAt)
    let total = 0
    for (const [index, entry] of entries.entries()) {
      total += entry.bytes
      if (index >= apps || total > bytes) await this.remove(entry.path)
    }
    // Builds fail when the disk is fuller than this, and the cache must never cause that.
    for (const { path } of entries.toReversed()) {
      const { bavail, bsize } = await statfs(this.directory)
      if (bavail * bsize >= 2 * spare) return
      await this.remove(path)
    }
  }

  async #entries(): Promise<CacheEntry[]> {
    const names = (await readdir(this.directory).catch(nullIf('ENOENT'))) ?? []
    const entries = names.map(async name => {
      const [, appId, bytes, key = ''] = NAME.exec(name) ?? []
      if (appId === undefined) return []
      const path = join(this.directory, name)
      const stats = await lstat(path).catch(nullIf('ENOENT'))
      return stats === null ? [] : [{ path, appId, bytes: Number(bytes), key, usedAt: stats.mtimeMs }]
    })
    return (await Promise.all(entries)).flat()
  }
}
