import { randomBytes, randomUUID } from 'node:crypto'
import { link, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Keyring } from '../domain/base/secret-box.ts'
import { createDataDir } from './data-dir.ts'

export type { Keyring }

export interface Keyrings {
  readonly session: Keyring
  readonly encryption: Keyring
  readonly signing: Keyring
}

const KEY_BYTES = 32
const KEY_ID = /^[A-Za-z0-9_-]{1,64}$/

/**
 * Parses `id:base64,id:base64`, newest first.
 *
 * @throws Error whose message never contains key material
 */
export function parseKeyring(text: string): Keyring {
  const keys = new Map<string, Buffer>()
  for (const entry of text.split(',').map(part => part.trim())) {
    const colon = entry.indexOf(':')
    const id = entry.slice(0, colon)
    const key = Buffer.from(entry.slice(colon + 1), 'base64')
    if (colon < 1 || !KEY_ID.test(id)) throw new Error('must be a list of id:base64, newest first')
    if (key.length !== KEY_BYTES) throw new Error(`key "${id}" must be ${KEY_BYTES} bytes in base64, got ${key.length}`)
    if (new Set(key).size < 8) throw new Error(`key "${id}" is a placeholder, not a random key`)
    if (keys.has(id)) throw new Error(`key "${id}" is listed twice`)
    keys.set(id, key)
  }
  const [first] = keys
  if (first === undefined) throw new Error('must contain at least one key')
  return { current: { id: first[0], key: first[1] }, keys }
}

/**
 * Generates a key in the form that {@link parseKeyring} reads. Its id is the date plus a random part, so two keys made
 * on the same day differ.
 */
export function generateKey(now = new Date()): string {
  const day = now.toISOString().slice(0, 10).replaceAll('-', '')
  return `k${day}-${randomBytes(4).toString('hex')}:${randomBytes(KEY_BYTES).toString('base64')}`
}

/**
 * The keyrings of a development server: generated on the first start and then kept in `DATA_DIR/keys.json` (mode 0600),
 * so that data sealed yesterday opens today.
 */
export async function developmentKeyrings(dataDir: string): Promise<Keyrings> {
  const path = join(dataDir, 'keys.json')
  const stored = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return createKeyFile(dataDir, path)
    throw error
  })
  try {
    const { session, encryption, signing } = JSON.parse(stored) as Record<keyof Keyrings, string>
    return {
      session: parseKeyring(session),
      encryption: parseKeyring(encryption),
      signing: parseKeyring(signing)
    }
  } catch (error) {
    throw new Error(`${path} is damaged; restore it, or the data encrypted with it is lost`, { cause: error })
  }
}

/** Several instances may start at once on one directory: the first link wins, and all of them read its content. */
async function createKeyFile(dataDir: string, path: string): Promise<string> {
  const keys = { session: generateKey(), encryption: generateKey(), signing: generateKey() }
  const unfinished = `${path}.${randomUUID()}`
  await createDataDir(dataDir)
  await writeFile(unfinished, JSON.stringify(keys, null, 2), { mode: 0o600, flush: true })
  await link(unfinished, path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error
  })
  await rm(unfinished)
  return readFile(path, 'utf8')
}
