import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { nullIf } from '../../plugins/lib/errno.ts'
import { AppCache, type CacheLimits } from './app-cache.ts'
import { findProgram, type Limits, type Sandbox } from './sandbox.ts'
import { sizeOf } from './tree.ts'

const FOLDER = 'node_modules'

/**
 * Archives an app's installed npm packages, and reuses them until the inputs of the installation change. The archive is
 * accessible to us alone: the programs that write and read it run as the build's user and get it as an open stream, so
 * no change that a build makes to its own copy reaches the archive, another build, or another app.
 */
export class InstalledPackages {
  readonly #kept: AppCache
  readonly #path: string
  readonly #disk: number

  /** @param path the PATH on which to find `tar` */
  constructor(dataDir: string, path: string, caches: CacheLimits, { disk }: Limits) {
    this.#kept = new AppCache(dataDir, 'installed-packages', caches)
    this.#path = path
    this.#disk = disk
  }

  /** Unpacks the packages installed with the same key. @returns whether there were any */
  async restore(appId: string, key: string, place: string, sandbox: Sandbox): Promise<boolean> {
    const entry = (await this.#kept.entriesOf(appId)).find(found => found.key === key)
    if (entry === undefined) return false
    const archive = await open(entry.path, 'r').catch(nullIf('ENOENT'))
    if (archive === null) return false // another build has replaced it
    try {
      if (await this.#tar(['-xpf', '-'], place, sandbox, { input: archive.fd })) {
        const now = new Date()
        await archive.utimes(now, now)
        return true
      }
    } finally {
      await archive.close()
    }
    sandbox.note('The packages of the last build cannot be unpacked; they are installed again.\n')
    await this.#kept.remove(entry.path)
    await this.#kept.remove(join(place, FOLDER))
    return false
  }

  /** Stores the installed packages, if there is room. No code of the app may have run there. */
  async save(appId: string, key: string, place: string, sandbox: Sandbox): Promise<void> {
    const [installed, all] = [await sizeOf(join(place, FOLDER)), await sizeOf(sandbox.directory)]
    // The archive stays in the workspace until it is complete, and must not exceed the workspace's limit.
    if (installed === 0 || installed > this.#kept.largest || installed + all > this.#disk) return
    const path = join(sandbox.directory, 'installed.tar')
    const archive = await open(path, 'wx', 0o600)
    let bytes: number
    try {
      if (!(await this.#tar(['-cf', '-', FOLDER], place, sandbox, { output: archive.fd }))) return
      // An archive that exists after a power failure must be complete.
      await archive.sync()
      bytes = (await archive.stat()).size
    } finally {
      await archive.close()
    }
    await this.#kept.keep(appId, path, bytes, key)
  }

  /** Removes the archive of an app that no longer exists. */
  drop(appId: string): Promise<void> {
    return this.#kept.drop(appId)
  }

  /** @returns whether it succeeded */
  async #tar(
    args: readonly string[],
    cwd: string,
    sandbox: Sandbox,
    streams: { readonly input?: number; readonly output?: number }
  ): Promise<boolean> {
    const tar = await findProgram('tar', this.#path)
    const { code } = await sandbox.run({ argv: [tar, ...args], cwd, env: { PATH: this.#path }, ...streams })
    return code === 0
  }
}
