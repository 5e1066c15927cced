import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { nullIf } from '../../plugins/lib/errno.ts'
import { BuildError } from './port.ts'

/** The package manager for an app's dependencies. */
export interface PackageManager {
  readonly name: 'npm' | 'pnpm' | 'yarn'
  /** For pnpm and yarn: a full version, or its leading part. */
  readonly version: string
  /** Whether a lockfile pins the versions of the dependencies. */
  readonly isLocked: boolean
}

/** Defaults for repositories that name no version; these releases read the lockfiles of their time. */
const USUAL = { pnpm: '10', yarnClassic: '1', yarn: '4' } as const
const VERSION = /^\d{1,4}(?:\.\d{1,6}){0,2}(?:-[\w.]{1,30})?$/

/**
 * The repository's package manager: the one that `packageManager` names, or the one whose lockfile is present.
 *
 * @throws BuildError when it cannot be run here
 */
export async function packageManagerOf(
  directory: string,
  { packageManager }: Readonly<Record<string, unknown>>
): Promise<PackageManager> {
  const [pnpmLock, yarnLock, ...npmLocks] = await Promise.all(
    ['pnpm-lock.yaml', 'yarn.lock', 'package-lock.json', 'npm-shrinkwrap.json'].map(name => headOf(directory, name))
  )
  const isNpmLocked = npmLocks.some(lock => lock !== null)
  if (typeof packageManager === 'string') {
    const [name = '', version = ''] = packageManager.split('+')[0]!.split('@')
    if (name === 'npm') return { name, version, isLocked: isNpmLocked }
    if ((name !== 'pnpm' && name !== 'yarn') || !VERSION.test(version))
      throw new BuildError(
        `The packageManager of package.json is ${JSON.stringify(packageManager.slice(0, 50))}: use npm, pnpm or yarn, as in "pnpm@10.0.0".`
      )
    return { name, version, isLocked: (name === 'pnpm' ? pnpmLock : yarnLock) !== null }
  }
  if (isNpmLocked) return { name: 'npm', version: '', isLocked: true }
  if (pnpmLock != null) return { name: 'pnpm', version: USUAL.pnpm, isLocked: true }
  if (yarnLock == null) return { name: 'npm', version: '', isLocked: false }
  return { name: 'yarn', version: yarnLock.includes('__metadata:') ? USUAL.yarn : USUAL.yarnClassic, isLocked: true }
}

/** Reads only the beginning, which identifies the format: lockfiles may be long. */
async function headOf(directory: string, name: string): Promise<string | null> {
  const file = await open(join(directory, name), constants.O_RDONLY | constants.O_NOFOLLOW).catch(
    nullIf('ENOENT', 'ELOOP', 'ENOTDIR')
  )
  if (file === null) return null
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(1_024), 0, 1_024, 0)
    return buffer.toString('utf8', 0, bytesRead)
  } finally {
    await file.close()
  }
}

/** npm arguments that install all dependencies, including build ones. npm fetches and runs the other managers. */
export function installWith({ name, version, isLocked }: PackageManager): string[] {
  if (name === 'npm') return [isLocked ? 'ci' : 'install', '--include=dev']
  const isClassic = name === 'yarn' && /^1(?:\.|$)/.test(version)
  const source = name === 'yarn' && !isClassic ? '@yarnpkg/cli-dist' : name
  const run = ['exec', '--yes', `--package=${source}@${version}`, '--', name, 'install']
  if (name === 'pnpm') return [...run, '--prod=false', '--no-frozen-lockfile']
  return isClassic ? [...run, '--production=false', '--non-interactive'] : run
}
