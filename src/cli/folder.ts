import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { CommandError } from './command.ts'

/** The contents of `.rhone.json` in a folder. It contains no secrets, so it may be committed. */
export interface FolderLink {
  readonly app?: string
  /** The app's server; absent: the local one. */
  readonly url?: string
}

export const FOLDER_FILE = '.rhone.json'

/** @throws CommandError when the file was not written by us */
export async function readFolder(folder: string): Promise<FolderLink> {
  const path = join(folder, FOLDER_FILE)
  try {
    const { app, url } = JSON.parse(await readFile(path, 'utf8'))
    return { ...(typeof app === 'string' && { app }), ...(typeof url === 'string' && { url }) }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return {}
    throw new CommandError(`${path} cannot be read: ${(error as Error).message}; fix or remove it`)
  }
}

export async function rememberIn(folder: string, remembered: FolderLink): Promise<void> {
  await writeFile(join(folder, FOLDER_FILE), `${JSON.stringify(remembered, null, 2)}\n`)
}
