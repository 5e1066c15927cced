import { readFile } from 'node:fs/promises'
import { join } from 'node:path'

/** What says, in the directory of an image, how its app is run. */
export const MANIFEST_FILE = 'rhone-image.json'
/** The app itself, beside it; its processes start here. */
export const APP_DIRECTORY = 'app'

/** How an app of an image is run. */
export interface LocalManifest {
  /** A program, found by `PATH`, and its arguments. */
  readonly command: readonly string[]
}

const IMAGE = /^local:sha256:([0-9a-f]{64})$/
const APP_ID = /^[0-9a-z][0-9a-z-]{0,62}$/

/** Where the images of an app are, a directory each, named by its digest. */
export function imagesDirectory(dataDir: string, appId: string): string {
  if (!APP_ID.test(appId)) throw new Error('this is no id of an app')
  return join(dataDir, 'images', appId)
}

/**
 * The directory of an image: `local:` and the digest of its whole tree. Nobody writes there once it exists, an app that
 * runs there neither.
 */
export function imagePath(dataDir: string, appId: string, image: string): string {
  const [, digest] = IMAGE.exec(image) ?? []
  if (digest === undefined) throw new Error('this is no image of this machine')
  return join(imagesDirectory(dataDir, appId), digest)
}

export function localImage(digest: string): string {
  return `local:sha256:${digest}`
}

/** @throws an error with the code ENOENT when the image is gone */
export async function readManifest(imageDirectory: string): Promise<LocalManifest> {
  return JSON.parse(await readFile(join(imageDirectory, MANIFEST_FILE), 'utf8'))
}
