import { rename } from 'node:fs/promises'
import { join } from 'node:path'
import { hasCode } from '../../plugins/lib/errno.ts'
import { AppCache, type CacheLimits } from './app-cache.ts'
import type { Sandbox } from './sandbox.ts'
import { hasHardLinks, sizeOf } from './tree.ts'
import { ownDirectory } from './workspace.ts'

/**
 * An app's downloaded packages, kept from one build to the next. Package managers name them by digest and verify them
 * on each use, so packages still in the lockfile are not downloaded again, and others are not used.
 * Each app has its own cache, because builds run its owner's code. A build takes the cache out and puts it back after
 * it has succeeded, both by renaming: no two builds share one, and a killed build leaves none behind.
 */
export class PackageCache {
  readonly #kept: AppCache

  constructor(dataDir: string, limits: CacheLimits) {
    this.#kept = new AppCache(dataDir, 'package-caches', limits)
  }

  /** Moves the app's cache, or an empty one, into a build's workspace. */
  async take(appId: string, sandbox: Sandbox): Promise<string> {
    for (const { path } of await this.#kept.entriesOf(appId)) {
      const taken = join(sandbox.directory, 'packages')
      try {
        await rename(path, taken)
      } catch (error) {
        if (!hasCode(error, 'ENOENT')) throw error
        continue // another build was faster
      }
      // As root we are about to change owners: a hard link might refer to a file outside the cache.
      if (sandbox.account === null || !(await hasHardLinks(taken))) break
      await this.#kept.remove(taken)
    }
    return ownDirectory(sandbox, 'packages')
  }

  /** Stores the packages that a build has left, if there is room. No process may use them any more. */
  async put(appId: string, packages: string): Promise<void> {
    await this.#kept.keep(appId, packages, await sizeOf(packages))
  }

  /** Removes the cache of an app that no longer exists. */
  drop(appId: string): Promise<void> {
    return this.#kept.drop(appId)
  }
}

/** Makes the package managers store their downloads in this directory. */
export const cacheVariables = (packages: string): Readonly<Record<string, string>> => ({
  npm_config_cache: join(packages, 'npm'),
  npm_config_store_dir: join(packages, 'pnpm'),
  // Not Yarn's cache folder: repositories may contain that themselves.
  YARN_GLOBAL_FOLDER: join(packages, 'yarn')
})
