import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto'
import { loadPackages } from '../../../plugins/lib/packages.ts'

/*
 * Files of age (age-encryption.org/v1). The package makes and opens their headers. The payload, which is all that
 * matters for speed, is left to OpenSSL: the package's own cipher is JavaScript, and ten times as slow.
 */

export type Chunks = AsyncIterable<Buffer> | Iterable<Buffer>

export const loadAge = () => loadPackages('backups', ['age-encryption'], () => import('age-encryption'))

const CIPHER = 'chacha20-poly1305'
/** Bytes of plain text that are encrypted at a time. */
const PIECE = 64 * 1024
const TAG = 16
const SALT = 16
/** A recipient takes 100 bytes, or 2,000 with a post-quantum key. */
const LONGEST_HEADER = 1024 * 1024
const LAST_LINE = '\n--- '

/** @param recipients public keys; any one of their private keys opens the file */
export async function* encrypted(plain: AsyncIterable<Buffer>, recipients: readonly string[]): AsyncGenerator<Buffer> {
  const { header, fileKey } = await newHeader(recipients)
  const salt = randomBytes(SALT)
  yield header
  yield salt
  const cipher = new PieceCipher(fileKey, salt)
  for await (const [piece, isLast] of inPieces(plain, PIECE)) yield cipher.encrypt(piece, isLast)
}

/**
 * @param identities private keys
 * @throws Error when none of them opens the file, or any of its bytes is not as it was
 */
export async function* decrypted(file: Chunks, identities: readonly string[]): AsyncGenerator<Buffer> {
  const { Decrypter } = await loadAge()
  const decrypter = new Decrypter()
  for (const identity of identities) decrypter.addIdentity(identity)
  const source = chunksOf(file)
  try {
    const { header, rest } = await readHeader(source)
    const fileKey = await decrypter.decryptHeader(header)
    const cipher = new PieceCipher(fileKey, rest.subarray(0, SALT))
    const payload = resumed(rest.subarray(SALT), source)
    for await (const [piece, isLast] of inPieces(payload, PIECE + TAG)) yield cipher.decrypt(piece, isLast)
  } finally {
    await source.return(undefined)
  }
}

/** A header, and the key that it holds. The package tells that key only to the recipients. */
async function newHeader(recipients: readonly string[]) {
  const { Encrypter } = await loadAge()
  const encrypter = new Encrypter()
  for (const recipient of recipients) encrypter.addRecipient(recipient)
  let fileKey: Uint8Array = Buffer.alloc(0)
  encrypter.addRecipient({
    wrapFileKey(key) {
      fileKey = key
      return []
    }
  })
  const empty = Buffer.from(await encrypter.encrypt(new Uint8Array()))
  return { header: empty.subarray(0, -(SALT + TAG)), fileKey }
}

/** Reads the header and the salt after it. */
async function readHeader(source: AsyncGenerator<Buffer>): Promise<{ header: Buffer; rest: Buffer }> {
  let read = Buffer.alloc(0)
  while (read.length <= LONGEST_HEADER) {
    const lastLine = read.indexOf(LAST_LINE)
    const end = lastLine < 0 ? 0 : read.indexOf('\n', lastLine + 1) + 1
    if (end > 0 && read.length >= end + SALT) return { header: read.subarray(0, end), rest: read.subarray(end) }
    const { done, value } = await source.next()
    if (done) throw new Error('it ends too early')
    read = Buffer.concat([read, value])
  }
  throw new Error('it is no file of age')
}

async function* resumed(rest: Buffer, source: AsyncGenerator<Buffer>): AsyncGenerator<Buffer> {
  yield rest
  yield* source
}

async function* chunksOf(content: Chunks): AsyncGenerator<Buffer> {
  yield* content
}

/** Cuts content into pieces of exactly `size` bytes, and tells which is the last: it may be shorter, or empty. */
async function* inPieces(
  content: AsyncIterable<Buffer>,
  size: number
): AsyncGenerator<[piece: Buffer, isLast: boolean]> {
  let piece = Buffer.allocUnsafe(size)
  let filled = 0
  for await (const chunk of content)
    for (let taken = 0; taken < chunk.length; ) {
      if (filled === size) {
        yield [piece, false]
        piece = Buffer.allocUnsafe(size)
        filled = 0
      }
      const part = chunk.copy(piece, filled, taken)
      filled += part
      taken += part
    }
  yield [piece.subarray(0, filled), true]
}

/** Encrypts or decrypts the pieces of one payload. Their numbers are part of the nonce, and so is which is the last. */
class PieceCipher {
  readonly #key: Buffer
  #number = 0

  constructor(fileKey: Uint8Array, salt: Uint8Array) {
    this.#key = Buffer.from(hkdfSync('sha256', fileKey, salt, 'payload', 32))
  }

  encrypt(plain: Buffer, isLast: boolean): Buffer {
    const cipher = createCipheriv(CIPHER, this.#key, this.#nonce(isLast), { authTagLength: TAG })
    return Buffer.concat([cipher.update(plain), cipher.final(), cipher.getAuthTag()])
  }

  decrypt(piece: Buffer, isLast: boolean): Buffer {
    // A whole last piece can only be followed by an empty one if somebody has added it.
    if (piece.length < TAG || (piece.length === TAG && this.#number > 0)) throw new Error('it ends too early')
    const decipher = createDecipheriv(CIPHER, this.#key, this.#nonce(isLast), { authTagLength: TAG })
    decipher.setAuthTag(piece.subarray(-TAG))
    const plain = decipher.update(piece.subarray(0, -TAG))
    try {
      decipher.final()
    } catch (error) {
      throw new Error('it is not what was encrypted', { cause: error })
    }
    return plain
  }

  #nonce(isLast: boolean): Buffer {
    const nonce = Buffer.alloc(12)
    nonce.writeUIntBE(this.#number++, 5, 6)
    nonce[11] = Number(isLast)
    return nonce
  }
}
