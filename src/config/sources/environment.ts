import { readFile } from 'node:fs/promises'
import type { Variables } from '../source.ts'
import { replaceFile } from './files.ts'
import { type Secret, type SecretSource, SourceError } from './port.ts'
import { hashed } from './version.ts'

/** The environment. A variable cannot change in a running process, but the file named by `X_FILE` can. */
export function environmentSource(variables: Variables): SecretSource {
  return {
    name: 'env',

    async load(names) {
      const found = new Map<string, Secret>()
      for (const name of names) {
        const value = variables[name] || (await contentOf(name, variables[`${name}_FILE`]))
        if (value) found.set(name, hashed(name, value))
      }
      return found
    },

    async store(name, value) {
      const file = variables[`${name}_FILE`]
      if (!file) throw new SourceError(`${name}: comes from the environment, which a running process cannot change`)
      await replaceFile(file, value)
    }
  }
}

async function contentOf(name: string, file: string | undefined): Promise<string | undefined> {
  if (!file) return undefined
  try {
    return (await readFile(file, 'utf8')).trim()
  } catch (error) {
    throw new SourceError(`${name}_FILE: cannot be read (${(error as NodeJS.ErrnoException).code})`)
  }
}
