import { watch } from 'node:fs'
import { readFile, realpath, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { replaceFile } from './files.ts'
import { type Secret, type SecretSource, SourceError } from './port.ts'
import { hashed } from './version.ts'

/** Kubernetes swaps this link to replace all files of a volume at once. */
const CURRENT = '..data'
/** Maximum attempts to read a set that was swapped meanwhile. */
const TRIES = 5

/**
 * A directory with one file per secret, named like its variable: Docker and Kubernetes secrets, systemd credentials,
 * Vault agent templates.
 */
export function dirSource(path: string): SecretSource {
  const name = `dir:${path}`

  async function load(names: readonly string[]): Promise<Map<string, Secret>> {
    for (let attempt = 1; ; attempt++) {
      const folder = await folderOf(path)
      const found = await readAll(folder, names)
      // Files of two generations must not be mixed.
      if (folder === (await folderOf(path))) return found
      if (attempt === TRIES) throw new SourceError(`${name}: keeps changing while it is read`)
    }
  }

  return {
    name,
    load,
    // Watches the directory: files are replaced, and a watch on one would stay with the deleted file.
    watch(onChange) {
      try {
        const watcher = watch(path, { persistent: false }, () => onChange())
        // The directory itself was replaced. Polling continues.
        watcher.on('error', () => watcher.close())
        return () => watcher.close()
      } catch {
        return () => {}
      }
    },
    async store(variable, value) {
      await stat(path).catch(unreadable)
      await replaceFile(join(path, variable), value)
    }
  }

  async function folderOf(directory: string): Promise<string> {
    return realpath(join(directory, CURRENT)).catch(() => realpath(directory).catch(unreadable))
  }

  async function readAll(folder: string, names: readonly string[]): Promise<Map<string, Secret>> {
    const found = new Map<string, Secret>()
    for (const variable of names) {
      const value = await contentOf(folder, variable)
      if (value) found.set(variable, hashed(variable, value))
    }
    return found
  }

  async function contentOf(folder: string, variable: string): Promise<string | undefined> {
    try {
      return (await readFile(join(folder, variable), 'utf8')).trim()
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code === 'ENOENT') return undefined
      throw new SourceError(`${name}: ${variable} cannot be read (${code})`)
    }
  }

  function unreadable(error: NodeJS.ErrnoException): never {
    throw new SourceError(`${name}: cannot be read (${error.code})`)
  }
}
