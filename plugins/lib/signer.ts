import { createHmac, hkdfSync, randomBytes, timingSafeEqual } from 'node:crypto'

/** A set of keys: the newest one signs, all of them verify. */
export interface Keyring {
  readonly current: { readonly id: string; readonly key: Buffer }
  readonly keys: ReadonlyMap<string, Buffer>
}

export interface Signer {
  /** @returns the key id and the code, for {@link Signer.verify} */
  sign(text: string): string
  verify(text: string, signature: string): boolean
}

const KEY_BYTES = 32

/** The default keyring of a single process. Its signatures are not valid after a restart. */
export function randomKeyring(): Keyring {
  const current = { id: randomBytes(6).toString('hex'), key: randomBytes(KEY_BYTES) }
  return { current, keys: new Map([[current.id, current.key]]) }
}

/** Derives separate keys per purpose, so that a signature for one is not valid for another. */
export function deriveKey(key: Buffer, purpose: string): Buffer {
  return Buffer.from(hkdfSync('sha256', key, '', purpose, KEY_BYTES))
}

/** Signs short texts with HMAC-SHA-256. */
export function createSigner(purpose: string, { current, keys }: Keyring): Signer {
  const derived = new Map([...keys].map(([id, key]) => [id, deriveKey(key, purpose)]))
  const code = (text: string, key: Buffer) => createHmac('sha256', key).update(text).digest('base64url')

  return {
    sign: text => `${current.id}.${code(text, derived.get(current.id)!)}`,
    verify(text, signature) {
      const dot = signature.indexOf('.')
      const key = derived.get(signature.slice(0, Math.max(dot, 0)))
      return key !== undefined && isSame(signature.slice(dot + 1), code(text, key))
    }
  }
}

/** Compares in constant time. */
export function isSame(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)]
  return left.length === right.length && timingSafeEqual(left, right)
}
