import { readFileSync } from 'node:fs'
import { ConfigError } from './error.ts'

export type Variables = Readonly<Record<string, string | undefined>>

/**
 * The process's environment; in development, `.env` in the working directory supplies defaults.
 *
 * @param withFile false: a `.env` in the working directory is not Rhone's
 * @throws ConfigError when `.env` exists but cannot be read
 */
export function readEnvironment(withFile = true): Variables {
  if (withFile && (process.env.ENVIRONMENT || 'development') === 'development') {
    try {
      process.loadEnvFile('.env')
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException
      if (code !== 'ENOENT') throw new ConfigError([`.env: cannot be read (${message})`])
    }
  }
  return process.env
}

/** The folder and environment that the command line was called in. */
export function readShell(): { readonly folder: string; readonly colour: boolean } {
  const { INIT_CWD, npm_lifecycle_event, NO_COLOR, TERM } = process.env
  // npm runs scripts in the package's folder, and passes on the user's.
  const folder = npm_lifecycle_event === 'rhone' && INIT_CWD ? INIT_CWD : process.cwd()
  return { folder, colour: !NO_COLOR && TERM !== 'dumb' }
}

/** Whether to use an optimization that applies before the settings can be read. `.env` cannot change it. */
export function takesShortcut(name: string): boolean {
  return !process.env.RHONE_SHORTCUTS_OFF?.split(',').some(off => off.trim() === name)
}

/**
 * Whether this process may run from a bundle. A plugin that is loaded from a file would get second copies of the modules
 * that it shares with the server, and coverage counts lines of sources.
 */
export function takesBundle(): boolean {
  const { NODE_V8_COVERAGE, RHONE_SWAP, RHONE_SWAP_FILE } = process.env
  const mayLoadModules = namesModule(RHONE_SWAP) || Boolean(RHONE_SWAP_FILE) || swapsInFile()
  return takesShortcut('bundle') && !NODE_V8_COVERAGE && !mayLoadModules
}

function namesModule(swaps = ''): boolean {
  return swaps.split(',').some(swap => swap !== '' && !swap.trim().endsWith('=off'))
}

function swapsInFile(): boolean {
  try {
    return /^[ \t]*(export[ \t]+)?RHONE_SWAP/m.test(readFileSync('.env', 'utf8'))
  } catch {
    return false // there is none, or reading the settings reports it
  }
}

/**
 * Returns the values of the named variables. `X_FILE` names a file that contains `X`; an empty variable counts as
 * unset.
 *
 * @param problems receives every problem found
 */
export function resolveFiles(
  variables: Variables,
  names: readonly string[],
  problems: string[]
): Record<string, string> {
  const values: Record<string, string> = {}
  for (const name of names) {
    const file = variables[`${name}_FILE`]
    if (variables[name]) values[name] = variables[name]
    if (!file || names.includes(`${name}_FILE`)) continue
    if (variables[name]) {
      problems.push(`${name}: is set twice, as ${name} and as ${name}_FILE`)
      continue
    }
    try {
      values[name] = readFileSync(file, 'utf8').trim()
    } catch (error) {
      problems.push(`${name}_FILE: cannot be read (${(error as NodeJS.ErrnoException).code})`)
    }
  }
  return values
}
