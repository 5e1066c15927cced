import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto'
import { deriveKey, type Keyring } from '../lib/signer.ts'

export interface SigningKeys {
  readonly current: { readonly id: string; readonly key: KeyObject }
  /** All public keys, by key id. */
  readonly verifying: ReadonlyMap<string, KeyObject>
  /** RFC 7517, newest first. */
  readonly jwks: { readonly keys: readonly object[] }
}

/** PKCS #8 header of an Ed25519 private key; the 32-byte seed follows. */
const PKCS8_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex')

/** Derives an Ed25519 key pair from each key of the ring, so the keyring is the only secret to store. */
export function signingKeys({ current, keys }: Keyring): SigningKeys {
  const pairs = new Map([...keys].map(([id, key]) => [id, pairOf(key)]))
  return {
    current: { id: current.id, key: pairs.get(current.id)!.privateKey },
    verifying: new Map([...pairs].map(([id, { publicKey }]) => [id, publicKey])),
    jwks: { keys: [...pairs].map(([id, { publicKey }]) => jwkOf(id, publicKey)) }
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
