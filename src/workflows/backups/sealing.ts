import type { Transform } from 'node:stream'
import { constants, createZstdCompress, createZstdDecompress } from 'node:zlib'
import { type Chunks, decrypted, encrypted, loadAge } from './age.ts'

const LEVEL = 3
const CHUNK = 256 * 1024

/**
 * Compresses with zstd, then encrypts with age: `age -d | zstd -dc` reverses it. Needs only public keys.
 * @param plain may reuse a chunk's memory once it is asked for the next one
 * @param recipients public age keys; any one of their private keys opens the result
 */
export function sealed(plain: Chunks, recipients: readonly string[]): AsyncGenerator<Buffer> {
  const compress = createZstdCompress({ chunkSize: CHUNK, params: { [constants.ZSTD_c_compressionLevel]: LEVEL } })
  return encrypted(through(plain, compress), recipients)
}

/**
 * Reverses {@link sealed}.
 * @param identities private age keys
 * @throws Error when none of them opens it, or any of its bytes has changed, including the last one
 */
export function opened(content: Chunks, identities: readonly string[]): AsyncGenerator<Buffer> {
  return through(decrypted(content, identities), createZstdDecompress({ chunkSize: CHUNK }))
}

/** The keys in a file of private age keys. They never appear in an error. */
export function identitiesIn(text: string): string[] {
  const identities = text.split(/\r?\n/).filter(line => line.startsWith('AGE-SECRET-KEY-'))
  if (identities.length === 0) throw new Error('holds no private age key, which begins with AGE-SECRET-KEY-')
  return identities
}

export async function makeIdentity(): Promise<string> {
  return (await loadAge()).generateX25519Identity()
}

export async function recipientOf(identity: string): Promise<string> {
  return (await loadAge()).identityToRecipient(identity)
}

/** A failure on either side ends both. */
async function* through(source: Chunks, transform: Transform): AsyncGenerator<Buffer> {
  const fed = feed(source, transform).catch(error => void transform.destroy(error))
  try {
    yield* transform
  } finally {
    transform.destroy()
    await fed
  }
}

/**
 * Waits until a chunk has been used before it asks for the next one. A transform that is destroyed while its reader is
 * behind never reports that a write has ended, so its close ends the wait, too.
 */
async function feed(source: Chunks, transform: Transform): Promise<void> {
  let stopWaiting = () => {}
  transform.once('close', () => stopWaiting())
  for await (const chunk of source)
    await new Promise<void>((used, failed) => {
      stopWaiting = () => failed(new Error('nobody reads on'))
      transform.write(chunk, error => (error ? failed(error) : used()))
    })
  transform.end()
}
