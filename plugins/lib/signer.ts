import { createHmac, hkdfSync, randomBytes, timingSafeEqual } from 'node:crypto'

/** A set of keys: the newest one signs, all of them verify. It may change while it is in use. */
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
export function createSigner(purpose: string, ring: Keyring): Signer {
  const derived = derivedOnce(key => deriveKey(key, purpose))
  const code = (text: string, key: Buffer) => createHmac('sha256', derived(key)).update(text).digest('base64url')

  return {
    sign(text) {
      const { id, key } = ring.current
      return `${id}.${code(text, key)}`
    },
    verify(text, signature) {
      const dot = signature.indexOf('.')
      const key = ring.keys.get(signature.slice(0, Math.max(dot, 0)))
      return key !== undefined && isSame(signature.slice(dot + 1), code(text, key))
    }
  }
}

/** Derives something from each key once, for as long as the key is in use. */
export function derivedOnce<Derived>(derive: (key: Buffer) => Derived): (key: Buffer) => Derived {
  const known = new WeakMap<Buffer, { derived: Derived }>()
  return key => {
    let entry = known.get(key)
    if (entry === undefined) {
      entry = { derived: derive(key) }
      known.set(key, entry)
    }
    return entry.derived
  }
}

/** Compares in constant time. */
export function isSame(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)]
  return left.length === right.length && timingSafeEqual(left, right)
}
