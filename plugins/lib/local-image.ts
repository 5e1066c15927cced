import { readFile } from 'node:fs/promises'
import { join } from 'node:path'

/** The manifest in an image's directory; says how to run its app. */
export const MANIFEST_FILE = 'rhone-image.json'
/** The app's directory, next to the manifest; its processes start here. */
export const APP_DIRECTORY = 'app'

/** How to run an image's app. */
export interface LocalManifest {
  /** A program, looked up in `PATH`, and its arguments. */
  readonly command: readonly string[]
}

const IMAGE = /^local:sha256:([0-9a-f]{64})$/
const APP_ID = /^[0-9a-z][0-9a-z-]{0,62}$/

/** The directory of an app's images; each is a subdirectory named by its digest. */
export function imagesDirectory(dataDir: string, appId: string): string {
  if (!APP_ID.test(appId)) throw new Error('this is not an app id')
  return join(dataDir, 'images', appId)
}

/**
 * The directory of an image, which is named `local:` plus the digest of its whole tree. It is never written to once it
 * exists, not even by an app that runs there.
 */
export function imagePath(dataDir: string, appId: string, image: string): string {
  const [, digest] = IMAGE.exec(image) ?? []
  if (digest === undefined) throw new Error('this image is not on this machine')
  return join(imagesDirectory(dataDir, appId), digest)
}

export function localImage(digest: string): string {
  return `local:sha256:${digest}`
}

/** @throws an error with the code ENOENT if the image no longer exists */
export async function readManifest(imageDirectory: string): Promise<LocalManifest> {
  return JSON.parse(await readFile(join(imageDirectory, MANIFEST_FILE), 'utf8'))
}
