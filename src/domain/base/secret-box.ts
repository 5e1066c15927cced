import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'

const ALGORITHM = 'aes-256-gcm'
const NONCE_BYTES = 12
/** Length of the tag, by which a ciphertext exceeds its plaintext. */
export const TAG_BYTES = 16

/** Keys for one purpose, 32 bytes each. The newest one seals and signs; all of them open and verify. */
export interface Keyring {
  readonly current: { readonly id: string; readonly key: Buffer }
  readonly keys: ReadonlyMap<string, Buffer>
}

/** A secret as it is stored. */
export interface Sealed {
  /** The id of the key that opens it. */
  keyId: string
  nonce: Buffer
  /** The ciphertext with its tag appended. */
  ciphertext: Buffer
}

/**
 * The owner of a secret. It is authenticated with the secret, so that a row copied to another app or key does not open.
 */
export interface Owner {
  appId: string
  key: string
}

/** Encrypts env var values with AES-256-GCM and a random nonce each, bound to their app and key. */
export class SecretBox {
  readonly #ring: Keyring

  constructor(ring: Keyring) {
    this.#ring = ring
  }

  seal(text: string, owner: Owner): Sealed {
    const { id, key } = this.#ring.current
    const nonce = randomBytes(NONCE_BYTES)
    const cipher = createCipheriv(ALGORITHM, key, nonce, { authTagLength: TAG_BYTES }).setAAD(associated(owner))
    const ciphertext = Buffer.concat([cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()])
    return { keyId: id, nonce, ciphertext }
  }

  /** @throws Error when the key is not in the ring, or when the secret or its owner was altered */
  open({ keyId, nonce, ciphertext }: Sealed, owner: Owner): string {
    const key = this.#ring.keys.get(keyId)
    if (key === undefined) throw new Error(`the secret is encrypted with key "${keyId}", which is not in the keyring`)
    const decipher = createDecipheriv(ALGORITHM, key, nonce, { authTagLength: TAG_BYTES }).setAAD(associated(owner))
    decipher.setAuthTag(ciphertext.subarray(-TAG_BYTES))
    const text = decipher.update(ciphertext.subarray(0, -TAG_BYTES))
    return Buffer.concat([text, decipher.final()]).toString('utf8')
  }
}

function associated({ appId, key }: Owner): Buffer {
  return Buffer.from(`${appId}|${key}`, 'utf8')
}
