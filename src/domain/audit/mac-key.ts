import { hash } from 'node:crypto'

/** Of SHA-256, in bytes. */
const BLOCK = 64
const DIGEST = 32
const INNER = 0x36
const OUTER = 0x5c

/**
 * A key of HMAC-SHA-256 (RFC 2104), for one short text after the other. Node's `createHmac` looks its algorithm up for
 * each text, which costs as much as the two digests of the one-shot function here.
 */
export class MacKey {
  readonly #inner: Buffer
  /** The key's block, and after it the digest of the current text. */
  readonly #outer: Buffer

  /** @param key at most 64 bytes; a longer one would have to be digested first */
  constructor(key: Buffer) {
    if (key.length > BLOCK) throw new RangeError(`a key has at most ${BLOCK} bytes, not ${key.length}`)
    this.#inner = padded(key, INNER)
    this.#outer = Buffer.concat([padded(key, OUTER), Buffer.alloc(DIGEST)])
  }

  mac(text: string): Buffer {
    const message = Buffer.allocUnsafe(BLOCK + Buffer.byteLength(text))
    this.#inner.copy(message)
    message.write(text, BLOCK)
    this.#outer.write(hash('sha256', message, 'binary'), BLOCK, 'binary')
    return Buffer.from(hash('sha256', this.#outer, 'binary'), 'binary')
  }
}

function padded(key: Buffer, pad: number): Buffer {
  const block = Buffer.alloc(BLOCK, pad)
  for (const [at, byte] of key.entries()) block[at] = byte ^ pad
  return block
}
