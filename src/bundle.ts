import { existsSync, readFileSync, statSync } from 'node:fs'
import { enableCompileCache } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { takesBundle } from './config/source.ts'

/**
 * What runs from the bundle that `scripts/bundle.ts` makes, by the source file. Commands and backups do not: they load
 * few modules, and the chunks that they would share with the server have many.
 */
export const PROGRAMS = {
  server: 'src/server-process.ts',
  worker: 'src/workers/worker.ts'
} as const

export type Program = keyof typeof PROGRAMS

/** Describes a bundle and the files that it was made of. */
export interface BundleManifest {
  /** The directory of the installation: the bundle contains paths of its files. */
  readonly root: string
  /** Paths relative to `root`, with the second of the last modification and the size in bytes. */
  readonly inputs: readonly (readonly [path: string, second: number, size: number])[]
  /** The file of each program, relative to `root`. */
  readonly programs: Readonly<Record<Program, string>>
}

const ROOT = join(import.meta.dirname, '..')
export const BUNDLES = join(ROOT, '.cache/bundle')
export const MANIFEST = join(BUNDLES, 'manifest.json')

/**
 * Runs a program in this process.
 *
 * @param source the program's module
 */
export async function run(program: Program, source: URL): Promise<void> {
  // Compiled code and stripped types are kept from one start to the next if the installation is writable.
  enableCompileCache(join(ROOT, '.cache'))
  const bundled = bundleOf(program)
  if (bundled === undefined) await import('./quick-imports.ts')
  await import((bundled ?? source).href)
}

/** Where a thread or process starts that runs a program. */
export function programUrl(program: Program, source: URL): URL {
  return bundleOf(program) ?? source
}

/** @returns undefined unless there is a bundle of exactly the files that are there now */
function bundleOf(program: Program): URL | undefined {
  if (!takesBundle()) return undefined
  const manifest = readManifest()
  if (manifest === undefined || manifest.root !== ROOT || !manifest.inputs.every(isUnchanged)) return undefined
  const file = join(ROOT, manifest.programs[program])
  return existsSync(file) ? pathToFileURL(file) : undefined
}

function readManifest(): BundleManifest | undefined {
  try {
    return JSON.parse(readFileSync(MANIFEST, 'utf8'))
  } catch {
    return undefined // none was made; the sources need none
  }
}

function isUnchanged([path, second, size]: BundleManifest['inputs'][number]): boolean {
  const found = statSync(join(ROOT, path), { throwIfNoEntry: false })
  return found !== undefined && secondOf(found.mtimeMs) === second && found.size === size
}

/** The layers of a container image keep no fractions of a second. */
export const secondOf = (milliseconds: number) => Math.floor(milliseconds / 1000)
