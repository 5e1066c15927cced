import { Readable, type Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { constants, createZstdCompress, createZstdDecompress } from 'node:zlib'
import { loadPackages } from '../../../plugins/lib/packages.ts'

const LEVEL = 3
const CHUNK = 256 * 1024

const loadAge = () => loadPackages('backups', ['age-encryption'], () => import('age-encryption'))

/**
 * Compresses with zstd, then encrypts with age: `age -d | zstd -dc` reverses it. Needs only public keys.
 * @param recipients public age keys; any one of their private keys opens the result
 */
export async function sealed(plain: AsyncIterable<Buffer>, recipients: readonly string[]): Promise<Readable> {
  const { Encrypter } = await loadAge()
  const encrypter = new Encrypter()
  for (const recipient of recipients) encrypter.addRecipient(recipient)
  const compress = createZstdCompress({ chunkSize: CHUNK, params: { [constants.ZSTD_c_compressionLevel]: LEVEL } })
  return fromWeb(await encrypter.encrypt(toWeb(through(plain, compress))))
}

/**
 * Reverses {@link sealed}. The stream fails unless every byte is unchanged, including the last one.
 * @param identities private age keys
 * @throws Error when none of them opens it
 */
export async function opened(content: Readable, identities: readonly string[]): Promise<Readable> {
  const { Decrypter } = await loadAge()
  const decrypter = new Decrypter()
  for (const identity of identities) decrypter.addIdentity(identity)
  const decrypted = await decrypter.decrypt(toWeb(content)).catch(error => {
    content.destroy()
    throw new Error(`it cannot be opened: ${(error as Error).message}`, { cause: error })
  })
  return through(fromWeb(decrypted), createZstdDecompress({ chunkSize: CHUNK }))
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
function through(source: AsyncIterable<Buffer>, transform: Transform): Readable {
  pipeline(source, transform).catch(error => transform.destroy(error))
  return transform
}

/** Without a strategy, the queue counts chunks as if they were bytes, and holds everything in memory. */
const toWeb = (stream: Readable) =>
  Readable.toWeb(stream, {
    strategy: new ByteLengthQueuingStrategy({ highWaterMark: CHUNK })
  }) as unknown as ReadableStream<Uint8Array>
const fromWeb = (stream: ReadableStream<Uint8Array>) => Readable.fromWeb(stream as never, { highWaterMark: CHUNK })
