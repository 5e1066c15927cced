import { lstat, mkdir, readdir, rename, statfs, utimes } from 'node:fs/promises'
import { join } from 'node:path'
import { hasCode, nullIf } from '../../plugins/lib/errno.ts'
import { removeTree } from '../../plugins/lib/remove-tree.ts'
import type { Sandbox } from './sandbox.ts'
import { hasHardLinks, sizeOf } from './tree.ts'
import { graveyardOf, ownDirectory } from './workspace.ts'

export interface PackageCacheLimits {
  /** Bytes of all caches together; one cache may have a quarter of them. 0 keeps none. */
  readonly bytes: number
  /** Number of apps with a cache. */
  readonly apps: number
  /** Bytes of disk space that must stay free for others. */
  readonly spare: number
}

interface Entry {
  readonly path: string
  readonly appId: string
  readonly bytes: number
  /** When its app was last built, in milliseconds. */
  readonly usedAt: number
}

/** The part of all bytes that one app may have. */
const LARGEST = 0.25
const NAME = /^([0-9a-z][0-9a-z-]{0,62})\.(\d{1,15})$/

/**
 * The packages that an app's builds have downloaded, kept from one build to the next. The package managers name them by
 * their digests and verify them at each use, so what a lockfile still names is not downloaded again, and what it no
 * longer names is not used.
 *
 * Each app has a cache of its own, because builds run the code of its owner. A build takes its cache out and puts it
 * back when it has succeeded, both by renaming: no two builds share one, and a build that is killed leaves none behind.
 */
export class PackageCache {
  readonly #directory: string
  readonly #dataDir: string
  readonly #limits: PackageCacheLimits

  constructor(dataDir: string, limits: PackageCacheLimits) {
    this.#directory = join(dataDir, 'package-caches')
    this.#dataDir = dataDir
    this.#limits = limits
  }

  /** Moves the app's cache into the workspace of a build; an empty one if it has none. */
  async take(appId: string, sandbox: Sandbox): Promise<string> {
    for (const { path } of await this.#entriesOf(appId)) {
      const taken = join(sandbox.directory, 'packages')
      try {
        await rename(path, taken)
      } catch (error) {
        if (!hasCode(error, 'ENOENT')) throw error
        continue // another build was faster
      }
      // As root we are about to change owners: a hard link might lead to a file outside of the cache.
      if (sandbox.account === null || !(await hasHardLinks(taken))) break
      await this.#remove(taken)
    }
    return ownDirectory(sandbox, 'packages')
  }

  /** Keeps what a build has left, if there is room. No process may be using it any more. */
  async put(appId: string, packages: string): Promise<void> {
    const bytes = await sizeOf(packages)
    if (bytes > this.#limits.bytes * LARGEST) return
    // Closed to other users: their numbers are drawn anew for each build, and may come again.
    await mkdir(this.#directory, { recursive: true, mode: 0o700 })
    const now = new Date()
    await utimes(packages, now, now)
    for (const { path } of await this.#entriesOf(appId)) await this.#remove(path)
    await rename(packages, join(this.#directory, `${appId}.${bytes}`)).catch(error => {
      // Another build of this app has put an equal one here.
      if (!hasCode(error, 'ENOTEMPTY', 'EEXIST')) throw error
    })
    await this.#shrink()
  }

  /** Removes the cache of an app that no longer exists. */
  async drop(appId: string): Promise<void> {
    for (const { path } of await this.#entriesOf(appId)) await this.#remove(path)
  }

  /** Removes those least recently used. */
  async #shrink(): Promise<void> {
    const { bytes, apps, spare } = this.#limits
    const entries = (await this.#entries()).sort((one, other) => other.usedAt - one.usedAt)
    let total = 0
    for (const [index, entry] of entries.entries()) {
      total += entry.bytes
      if (index >= apps || total > bytes) await this.#remove(entry.path)
    }
    // Builds fail when the disk is fuller than this; a cache must never be the reason.
    for (const { path } of entries.toReversed()) {
      const { bavail, bsize } = await statfs(this.#directory)
      if (bavail * bsize >= 2 * spare) return
      await this.#remove(path)
    }
  }

  async #entriesOf(id: string): Promise<Entry[]> {
    return (await this.#entries()).filter(({ appId }) => appId === id)
  }

  async #entries(): Promise<Entry[]> {
    const names = (await readdir(this.#directory).catch(nullIf('ENOENT'))) ?? []
    const entries = names.map(async name => {
      const [, appId, bytes] = NAME.exec(name) ?? []
      if (appId === undefined) return []
      const path = join(this.#directory, name)
      const stats = await lstat(path).catch(nullIf('ENOENT'))
      return stats === null ? [] : [{ path, appId, bytes: Number(bytes), usedAt: stats.mtimeMs }]
    })
    return (await Promise.all(entries)).flat()
  }

  #remove(path: string): Promise<void> {
    return removeTree(path, graveyardOf(this.#dataDir))
  }
}

/** Makes the package managers keep in this directory what they download. */
export const cacheVariables = (packages: string): Readonly<Record<string, string>> => ({
  npm_config_cache: join(packages, 'npm'),
  npm_config_store_dir: join(packages, 'pnpm'),
  // Not its cache folder: repositories may keep that themselves.
  YARN_GLOBAL_FOLDER: join(packages, 'yarn')
})
