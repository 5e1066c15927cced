import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { CommandError } from './command.ts'

/** What `.rhone.json` remembers about a folder. It may be committed: there is no secret in it. */
export interface Remembered {
  readonly app?: string
  /** The server that the app is on; absent: the local one. */
  readonly url?: string
}

export const FOLDER_FILE = '.rhone.json'

/** @throws CommandError when the file is not one of ours */
export async function readFolder(folder: string): Promise<Remembered> {
  const path = join(folder, FOLDER_FILE)
  try {
    const { app, url } = JSON.parse(await readFile(path, 'utf8'))
    return { ...(typeof app === 'string' && { app }), ...(typeof url === 'string' && { url }) }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return {}
    throw new CommandError(`${path} cannot be read: ${(error as Error).message}; mend or remove it`)
  }
}

export async function rememberIn(folder: string, remembered: Remembered): Promise<void> {
  await writeFile(join(folder, FOLDER_FILE), `${JSON.stringify(remembered, null, 2)}\n`)
}
