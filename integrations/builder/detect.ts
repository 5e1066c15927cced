import { lstat } from 'node:fs/promises'
import { join } from 'node:path'
import { nullIf } from '../../plugins/lib/errno.ts'
import { BuildError } from './port.ts'
import { readSmallFile } from './tree.ts'

/** How an app is built and run, as its repository says. */
export interface Recipe {
  /** What is run to build it, in order: arguments of npm. */
  readonly steps: readonly (readonly string[])[]
  /** The command line of its web process, for a shell. */
  readonly start: string
}

interface Package {
  readonly scripts: Readonly<Record<string, unknown>>
  readonly hasDependencies: boolean
}

/** @throws BuildError that says what is missing, when the app cannot be run */
export async function detect(directory: string): Promise<Recipe> {
  const manifest = await readPackage(directory)
  const start = (await webProcess(directory)) ?? (await startScript(directory, manifest))
  if (start === null)
    throw new BuildError(
      'Nothing says how this app is started: it needs a Procfile with a line "web: <command>", or a package.json with a "start" script.'
    )
  return { steps: await stepsOf(directory, manifest), start }
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
  if (command.includes('\0')) throw new BuildError('The Procfile is no text.')
  return command
}

async function startScript(directory: string, manifest: Package | null): Promise<string | null> {
  if (manifest === null) return null
  if (isScript(manifest.scripts.start)) return manifest.scripts.start
  // As npm has it.
  return (await readSmallFile(directory, 'server.js')) === null ? null : 'node server.js'
}

async function stepsOf(directory: string, manifest: Package | null): Promise<string[][]> {
  if (manifest === null) return []
  const isLocked = (await isThere(directory, 'package-lock.json')) || (await isThere(directory, 'npm-shrinkwrap.json'))
  const install = isLocked ? [['ci', '--include=dev']] : manifest.hasDependencies ? [['install', '--include=dev']] : []
  return [...install, ...(isScript(manifest.scripts.build) ? [['run', 'build']] : [])]
}

async function readPackage(directory: string): Promise<Package | null> {
  const text = await readSmallFile(directory, 'package.json')
  if (text === null) return null
  const json = parse(text)
  if (!isObject(json)) throw new BuildError('The package.json is not a JSON object.')
  const { scripts, dependencies, devDependencies, optionalDependencies } = json
  const isSome = (group: unknown) => isObject(group) && Object.keys(group).length > 0
  return {
    scripts: isObject(scripts) ? scripts : {},
    hasDependencies: [dependencies, devDependencies, optionalDependencies].some(isSome)
  }
}

/** Without the parser's message, which quotes what it has read. */
function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

const isThere = async (directory: string, name: string) =>
  (await lstat(join(directory, name)).catch(nullIf('ENOENT'))) !== null

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

const isScript = (value: unknown): value is string =>
  typeof value === 'string' && value.trim() !== '' && !value.includes('\0')
