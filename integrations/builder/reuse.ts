import { createHash } from 'node:crypto'
import { lstat, realpath, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { nullIf } from '../../plugins/lib/errno.ts'
import { BuildError } from './port.ts'
import { readSmallFile } from './tree.ts'

/** An installation that depends on nothing but the inputs of its key. */
export interface Reusable {
  /** SHA-256 in hexadecimal. */
  readonly key: string
  /** npm arguments to run when nothing is stored under this key. They run no code of any package. */
  readonly install: readonly string[]
  /** The steps to run afterwards, in either case. */
  readonly finish: readonly (readonly string[])[]
}

interface LockedPackage {
  readonly link?: unknown
  readonly inBundle?: unknown
  readonly integrity?: unknown
  readonly optional?: unknown
  readonly hasInstallScript?: unknown
  readonly os?: unknown
  readonly cpu?: unknown
}

/** Megabytes: reading a longer lockfile would block the process. */
const LONGEST_LOCK = 4
/** Scripts of the app itself that `npm ci` runs. */
const OWN_SCRIPTS = ['preinstall', 'install', 'postinstall', 'prepublish', 'preprepare', 'prepare', 'postprepare']
/** Lines of an .npmrc that name no other file and run nothing. */
const HARMLESS =
  /^\s*(?:$|[#;]|(?:@[\w.-]+:)?registry\s*=|\/\/[^\s=]+:(?:_authToken|_auth|username|_password|email|always-auth)\s*=|(?:engine-strict|legacy-peer-deps|strict-peer-deps|save-exact|save-prefix|fund|audit|loglevel|progress|prefer-offline|fetch-(?:retries|timeout|retry-[a-z]+))\s*=)/
/** Variables that affect npm or Node, such as NODE_OPTIONS, and may name files of the app. */
const INFLUENTIAL = /^(?:npm_|node_(?!env$)|ld_|dyld_)/i
/** A package's place must be below the app. */
const PLACE = /^node_modules\/(?:@[^/]+\/)?[^/]+(?:\/node_modules\/(?:@[^/]+\/)?[^/]+)*$/
const LOCKFILES = ['npm-shrinkwrap.json', 'package-lock.json']

/**
 * Decides whether an app's `npm ci` installation can be kept for its next build; otherwise returns the reason, as the
 * end of a sentence. Only downloaded and verified files are kept: scripts of packages run in each build, as they may
 * read the app's files. If scripts of the app itself take part in the installation, npm handles everything.
 * @param manifest the app's package.json
 * @param variables names of the app's env vars
 * @param programs paths of node and npm, as builds run them
 */
export async function reusable(
  place: string,
  manifest: Readonly<Record<string, unknown>>,
  variables: readonly string[],
  programs: readonly string[]
): Promise<Reusable | string> {
  const influence = variables.find(name => INFLUENTIAL.test(name))
  if (influence !== undefined) return `the env var ${influence} may affect the installation`
  const { scripts, ...rest } = manifest
  const own = OWN_SCRIPTS.find(name => isObject(scripts) && Object.hasOwn(scripts, name))
  if (own !== undefined) return `its package.json has the script "${own}"`
  for (const name of ['binding.gyp', 'node_modules'])
    if ((await lstat(join(place, name)).catch(nullIf('ENOENT'))) !== null) return `it contains its own ${name}`

  const { settings, lock } = await filesOf(place)
  if (lock === null) return 'its lockfile cannot be read'
  if (!(settings ?? '').split('\n').every(line => HARMLESS.test(line))) return 'its .npmrc has custom settings'
  const packages = packagesOf(lock)
  if (packages === null) return 'its lockfile was written by an npm older than 7'
  if (!packages.every(([name, locked]) => isDownloaded(name, locked)))
    return 'some packages in its lockfile have no digest or are not downloaded'
  const withScripts = packages.filter(([, locked]) => locked.hasInstallScript === true && isForThisMachine(locked))
  if (withScripts.some(([, { optional }]) => optional === true))
    return 'an optional package has an install script, and may be skipped'

  const install = ['ci', '--include=dev', ...(withScripts.length > 0 ? ['--ignore-scripts'] : [])]
  const parts = [await machineOf(programs), install, rest, settings, lock]
  return {
    key: createHash('sha256').update(JSON.stringify(parts)).digest('hex'),
    install,
    finish: withScripts.length > 0 ? [['rebuild']] : []
  }
}

/** The .npmrc and the lockfile. */
async function filesOf(place: string): Promise<{ settings: string | null; lock: string | null }> {
  try {
    const settings = await readSmallFile(place, '.npmrc')
    for (const name of LOCKFILES) {
      const lock = await readSmallFile(place, name, LONGEST_LOCK)
      if (lock !== null) return { settings, lock }
    }
  } catch (error) {
    if (!(error instanceof BuildError)) throw error
  }
  return { settings: null, lock: null }
}

function packagesOf(lock: string): [name: string, locked: LockedPackage][] | null {
  let content: unknown
  try {
    content = JSON.parse(lock)
  } catch {
    return null // npm reports what is wrong with it
  }
  if (!isObject(content) || !isObject(content.packages)) return null
  return Object.entries(content.packages).filter(
    (entry): entry is [string, LockedPackage] => entry[0] !== '' && isObject(entry[1])
  )
}

function isDownloaded(name: string, { link, inBundle, integrity }: LockedPackage): boolean {
  const isPinned = inBundle === true || (typeof integrity === 'string' && integrity !== '')
  return PLACE.test(name) && !name.split('/').includes('..') && link !== true && isPinned
}

const isForThisMachine = ({ os, cpu }: LockedPackage) => allows(os, process.platform) && allows(cpu, process.arch)

/** By npm's rules: a list of allowed names, or of excluded ones. */
function allows(list: unknown, ours: string): boolean {
  if (!Array.isArray(list) || list.length === 0) return true
  const meant = list.filter(name => typeof name === 'string' && !name.startsWith('!'))
  return !list.includes(`!${ours}`) && (meant.length === 0 || meant.includes(ours) || meant.includes('any'))
}

/**
 * The machine's properties that packages depend on: its platform, and the installed programs, which reflect its C
 * library.
 */
async function machineOf(programs: readonly string[]): Promise<readonly unknown[]> {
  const installed = programs.map(async program => {
    const path = await realpath(program)
    const { size, mtimeMs } = await stat(path)
    return [path, size, mtimeMs]
  })
  return [process.platform, process.arch, process.version, ...(await Promise.all(installed))]
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
