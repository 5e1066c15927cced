import { createPrivateKey, createPublicKey, hkdfSync, type KeyObject, sign, timingSafeEqual, verify } from 'node:crypto'
import type { Keyring } from '../base/secret-box.ts'
import { MacKey } from './mac-key.ts'

/** What a MAC covers: a row as it was written, a link of the chain, or the rest of an erased row. */
export type MacPurpose = 'row' | 'link' | 'erasure'

/** A signed link, and the instant from which rows must still exist. */
export interface Checkpoint {
  seq: number
  digest: Buffer
  retainedFrom: Date | null
}

/**
 * Authenticates the audit log with keys derived from a keyring that is not in the database. The newest key makes MACs
 * and signatures; every key of the ring verifies them.
 */
export class AuditKeys {
  readonly #ring: Keyring
  /** For as long as a key is in the ring, which may change. */
  readonly #macKeys = new WeakMap<Buffer, Readonly<Record<MacPurpose, MacKey>>>()

  constructor(ring: Keyring) {
    this.#ring = ring
  }

  /** The id of the key that authenticates what is written now. */
  get currentId(): string {
    return this.#ring.current.id
  }

  /** The ids of the keys that only verify. */
  get olderIds(): string[] {
    return [...this.#ring.keys.keys()].filter(id => id !== this.currentId)
  }

  mac(purpose: MacPurpose, text: string): Buffer {
    return this.#macKey(purpose, this.#ring.current.key).mac(text)
  }

  /** Whether any key of the ring made this MAC; false for an absent one. */
  isMac(purpose: MacPurpose, text: string, mac: Buffer | null): boolean {
    if (mac?.length !== 32) return false
    return [...this.#ring.keys.values()].some(key => timingSafeEqual(this.#macKey(purpose, key).mac(text), mac))
  }

  #macKey(purpose: MacPurpose, key: Buffer): MacKey {
    let known = this.#macKeys.get(key)
    if (known === undefined) {
      const derived = (name: MacPurpose) => new MacKey(derive(key, `rhone audit ${name}`))
      known = { row: derived('row'), link: derived('link'), erasure: derived('erasure') }
      this.#macKeys.set(key, known)
    }
    return known[purpose]
  }

  signCheckpoint(checkpoint: Checkpoint): { keyId: string; signature: Buffer } {
    const { id, key } = this.#ring.current
    return { keyId: id, signature: sign(null, checkpointText(checkpoint), signingKey(key)) }
  }

  /** @returns undefined when the key is no longer in the ring */
  verifyCheckpoint(checkpoint: Checkpoint, keyId: string, signature: Buffer): boolean | undefined {
    const key = this.#ring.keys.get(keyId)
    return key && verify(null, checkpointText(checkpoint), createPublicKey(signingKey(key)), signature)
  }
}

function checkpointText({ seq, digest, retainedFrom }: Checkpoint): Buffer {
  return Buffer.from(`rhone audit checkpoint 1\n${seq}\n${digest.toString('hex')}\n${retainedFrom?.toJSON() ?? '-'}\n`)
}

/** One key per purpose, so that a MAC for one purpose is not valid for another. */
function derive(ringKey: Buffer, info: string): Buffer {
  return Buffer.from(hkdfSync('sha256', ringKey, '', info, 32))
}

const PKCS8_ED25519 = Buffer.from('302e020100300506032b657004220420', 'hex')

function signingKey(ringKey: Buffer): KeyObject {
  const seed = derive(ringKey, 'rhone audit checkpoint')
  return createPrivateKey({ key: Buffer.concat([PKCS8_ED25519, seed]), format: 'der', type: 'pkcs8' })
}
