import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto'
import { derivedOnce, deriveKey, type Keyring } from '../lib/signer.ts'

export interface SigningKeys {
  current(): { readonly id: string; readonly key: KeyObject }
  /** The public key of that id, if the ring has it. */
  verifying(id: string): KeyObject | undefined
  /** RFC 7517, newest first. */
  jwks(): { readonly keys: readonly object[] }
}

/** PKCS #8 header of an Ed25519 private key; the 32-byte seed follows. */
const PKCS8_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex')

/** Derives an Ed25519 key pair from each key of the ring, so the keyring is the only secret to store. */
export function signingKeys(ring: Keyring): SigningKeys {
  const pairs = derivedOnce(pairOf)
  return {
    current() {
      const { id, key } = ring.current
      return { id, key: pairs(key).privateKey }
    },
    verifying(id) {
      const key = ring.keys.get(id)
      return key && pairs(key).publicKey
    },
    jwks: () => ({ keys: [...ring.keys].map(([id, key]) => jwkOf(id, pairs(key).publicKey)) })
  }
}

function pairOf(key: Buffer): { privateKey: KeyObject; publicKey: KeyObject } {
  const der = Buffer.concat([PKCS8_PREFIX, deriveKey(key, 'rhone access tokens, Ed25519')])
  const privateKey = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
  return { privateKey, publicKey: createPublicKey(privateKey) }
}

function jwkOf(kid: string, key: KeyObject): object {
  const { kty, crv, x } = key.export({ format: 'jwk' })
  return { kty, crv, x, kid, alg: 'EdDSA', use: 'sig' }
}
