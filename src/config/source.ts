import { readFileSync } from 'node:fs'
import { ConfigError } from './error.ts'

export type Variables = Readonly<Record<string, string | undefined>>

/**
 * The process's environment, with `.env` of the working directory beneath it in development.
 *
 * @throws ConfigError when there is a `.env` that cannot be read
 */
export function readEnvironment(): Variables {
  if ((process.env.ENVIRONMENT || 'development') === 'development') {
    try {
      process.loadEnvFile('.env')
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException
      if (code !== 'ENOENT') throw new ConfigError([`.env: cannot be read (${message})`])
    }
  }
  return process.env
}

/** Whether a shortcut is taken that comes before the settings can be read. `.env` has no say in it. */
export function takesShortcut(name: string): boolean {
  return !process.env.RHONE_SHORTCUTS_OFF?.split(',').some(off => off.trim() === name)
}

/**
 * The values of the variables named. `X_FILE` names a file that holds `X`; an empty variable counts as unset.
 *
 * @param problems receives what is wrong
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
      problems.push(`${name}: is given twice, as ${name} and as ${name}_FILE`)
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
