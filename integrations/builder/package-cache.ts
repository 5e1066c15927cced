import { rename } from 'node:fs/promises'
import { join } from 'node:path'
import { hasCode } from '../../plugins/lib/errno.ts'
import { AppCache, type CacheLimits } from './app-cache.ts'
import type { Sandbox } from './sandbox.ts'
import { hasHardLinks, sizeOf } from './tree.ts'
import { ownDirectory } from './workspace.ts'

/**
 * The packages that an app's builds have downloaded, kept from one build to the next. The package managers name them by
 * their digests and verify them at each use, so what a lockfile still names is not downloaded again, and what it no
 * longer names is not used.
 *
 * Each app has a cache of its own, because builds run the code of its owner. A build takes its cache out and puts it
 * back when it has succeeded, both by renaming: no two builds share one, and a build that is killed leaves none behind.
 */
export class PackageCache {
  readonly #kept: AppCache

  constructor(dataDir: string, limits: CacheLimits) {
    this.#kept = new AppCache(dataDir, 'package-caches', limits)
  }

  /** Moves the app's cache into the workspace of a build; an empty one if it has none. */
  async take(appId: string, sandbox: Sandbox): Promise<string> {
    for (const { path } of await this.#kept.entriesOf(appId)) {
      const taken = join(sandbox.directory, 'packages')
      try {
        await rename(path, taken)
      } catch (error) {
        if (!hasCode(error, 'ENOENT')) throw error
        continue // another build was faster
      }
      // As root we are about to change owners: a hard link might lead to a file outside of the cache.
      if (sandbox.account === null || !(await hasHardLinks(taken))) break
      await this.#kept.remove(taken)
    }
    return ownDirectory(sandbox, 'packages')
  }

  /** Keeps what a build has left, if there is room. No process may be using it any more. */
  async put(appId: string, packages: string): Promise<void> {
    await this.#kept.keep(appId, packages, await sizeOf(packages))
  }

  /** Removes the cache of an app that no longer exists. */
  drop(appId: string): Promise<void> {
    return this.#kept.drop(appId)
  }
}

/** Makes the package managers keep in this directory what they download. */
export const cacheVariables = (packages: string): Readonly<Record<string, string>> => ({
  npm_config_cache: join(packages, 'npm'),
  npm_config_store_dir: join(packages, 'pnpm'),
  // Not its cache folder: repositories may keep that themselves.
  YARN_GLOBAL_FOLDER: join(packages, 'yarn')
})
