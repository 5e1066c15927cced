import type { FastifyRequest } from 'fastify'
import { createSigner, type Keyring } from '../lib/signer.ts'

/** Tells requests apart by method, URL and body, without keeping any of them. */
export interface Fingerprints {
  of(request: FastifyRequest): Buffer
  /**
   * Whether a kept fingerprint is that of another request. Of one that was made with a key that is gone, or by an older
   * version, nobody can say; the client's word that it is the same request then stands.
   */
  isOther(request: FastifyRequest, kept: Buffer): boolean
}

const FORM = /^([\w-]+)\.[\w-]{43}$/

/** Keyed, so that the body of a request cannot be found from the database by trying all there could be. */
export function createFingerprints(ring: Keyring): Fingerprints {
  const signer = createSigner('rhone idempotency', ring)
  return {
    of: request => Buffer.from(signer.sign(textOf(request))),
    isOther(request, kept) {
      const text = kept.toString('latin1')
      const [, keyId] = FORM.exec(text) ?? []
      return keyId !== undefined && ring.keys.has(keyId) && !signer.verify(textOf(request), text)
    }
  }
}

/** The order of a body's keys makes no difference. */
function textOf(request: FastifyRequest): string {
  return JSON.stringify([request.method, request.url, request.body], inKeyOrder)
}

function inKeyOrder(_key: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
}
