import { lstat, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { nullIf } from '../../plugins/lib/errno.ts'
import { installWith, type PackageManager, packageManagerOf } from './package-manager.ts'
import { BuildError } from './port.ts'
import { readSmallFile } from './tree.ts'

/** How to build and run an app, derived from its repository. */
export interface BuildPlan {
  /** The build steps in order, as arguments of npm. */
  readonly steps: readonly (readonly string[])[]
  /** The package.json, if the first step installs from a lockfile with npm. */
  readonly locked: Readonly<Record<string, unknown>> | null
  /** The shell command line of the web process. */
  readonly start: string
  /** Notes for the owner, one line each. */
  readonly notes: readonly string[]
}

interface Package {
  readonly json: Readonly<Record<string, unknown>>
  readonly scripts: Readonly<Record<string, unknown>>
  /** Whether the app or its workspaces have any dependencies to install. */
  readonly hasDependencies: boolean
}

/** Dependency files of other languages, which are not installed here. */
const FOREIGN: Readonly<Record<string, string>> = {
  'requirements.txt': 'Python',
  'pyproject.toml': 'Python',
  Pipfile: 'Python',
  Gemfile: 'Ruby',
  'go.mod': 'Go',
  'Cargo.toml': 'Rust',
  'composer.json': 'PHP',
  'pom.xml': 'Java',
  'build.gradle': 'Java',
  'mix.exs': 'Elixir'
}

/** Through npm, so that `prestart`, `poststart` and npm's variables work as usual. */
const NPM_START = 'npm start --silent --no-update-notifier'

/** @throws BuildError that says what is missing, if the app cannot be built or run here */
export async function detect(directory: string): Promise<BuildPlan> {
  const manifest = await readPackage(directory)
  const names = (await readdir(directory)).sort()
  if (manifest === null) refuseForeign(names)
  const start = (await webProcess(directory)) ?? (await startOf(directory, manifest))
  if (start === null) throw new BuildError(await nothingToStart(directory, names))
  const manager = manifest === null ? null : await packageManagerOf(directory, manifest.json)
  return {
    steps: manifest === null ? [] : stepsOf(manifest, manager!),
    locked: manager?.name === 'npm' && manager.isLocked ? manifest!.json : null,
    start,
    notes: manifest === null ? [] : notesOf(names, manifest)
  }
}

function refuseForeign(names: readonly string[]): void {
  const foreign = names.find(name => Object.hasOwn(FOREIGN, name))
  if (foreign !== undefined)
    throw new BuildError(
      `This looks like an app in ${FOREIGN[foreign]} (${foreign}), but this server only builds Node.js apps and runs commands of a Procfile. Use BUILDER=buildkit, or deploy an image.`
    )
  if (names.includes('Dockerfile') && !names.includes('Procfile'))
    throw new BuildError(
      'This server cannot build a Dockerfile: it only builds Node.js apps and runs commands of a Procfile. Use BUILDER=buildkit, or deploy an image.'
    )
}

async function nothingToStart(directory: string, names: readonly string[]): Promise<string> {
  const needs =
    'The start command is missing: add a Procfile with a line "web: <command>", or a "start" script to package.json.'
  for (const name of names)
    if (!name.startsWith('.') && (await isThere(directory, join(name, 'package.json'))))
      return `${needs} Is it the app in ${name}? Then set its rootDirectory to "${name}".`
  return needs
}

async function webProcess(directory: string): Promise<string | null> {
  const procfile = await readSmallFile(directory, 'Procfile')
  if (procfile === null) return null
  const command = procfile
    .split('\n')
    .find(line => line.startsWith('web:'))
    ?.slice('web:'.length)
    .trim()
  if (!command) throw new BuildError('The Procfile has no line "web: <command>".')
  if (command.includes('\0')) throw new BuildError('The Procfile is not a text file.')
  return command
}

/** The start command by npm's rules, or else for the file that Node itself would run. */
async function startOf(directory: string, manifest: Package | null): Promise<string | null> {
  if (manifest === null) return null
  if (isScript(manifest.scripts.start) || (await isThere(directory, 'server.js'))) return NPM_START
  const { main } = manifest.json
  const file = typeof main === 'string' ? main : 'index.js'
  return /^[\w./-]{1,200}$/.test(file) && (await isThere(directory, file)) ? 'node .' : null
}

function stepsOf({ scripts, hasDependencies }: Package, manager: PackageManager): string[][] {
  const install = hasDependencies || manager.isLocked ? [installWith(manager)] : []
  return [...install, ...(isScript(scripts.build) ? [['run', 'build']] : [])]
}

function notesOf(names: readonly string[], { json }: Package): string[] {
  const notes: string[] = []
  if (names.includes('Dockerfile')) notes.push('The Dockerfile is ignored: this server builds from package.json.')
  const wanted = isObject(json.engines) && typeof json.engines.node === 'string' ? json.engines.node.slice(0, 50) : null
  const [ours = ''] = process.versions.node.split('.')
  const isMet = wanted === null || /[*>]/.test(wanted) || new RegExp(`(?:^|[^\\d.])${ours}(?:\\D|$)`).test(wanted)
  if (!isMet) notes.push(`The app asks for Node.js ${JSON.stringify(wanted)}, but gets ${process.versions.node}.`)
  return notes
}

async function readPackage(directory: string): Promise<Package | null> {
  const text = await readSmallFile(directory, 'package.json')
  if (text === null) return null
  const json = parse(text)
  if (!isObject(json)) throw new BuildError('The package.json is not a JSON object.')
  const { scripts, dependencies, devDependencies, optionalDependencies, workspaces } = json
  const isSome = (group: unknown) => isObject(group) && Object.keys(group).length > 0
  const hasWorkspaces = isSome(workspaces) || (Array.isArray(workspaces) && workspaces.length > 0)
  return {
    json,
    scripts: isObject(scripts) ? scripts : {},
    hasDependencies: hasWorkspaces || [dependencies, devDependencies, optionalDependencies].some(isSome)
  }
}

/** Drops the parser's message, which quotes its input. */
function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

const isThere = async (directory: string, name: string) =>
  (await lstat(join(directory, name)).catch(nullIf('ENOENT', 'ENOTDIR'))) !== null

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

const isScript = (value: unknown): value is string =>
  typeof value === 'string' && value.trim() !== '' && !value.includes('\0')
