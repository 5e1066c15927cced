import type { FastifyRequest } from 'fastify'
import { createSigner, type Keyring } from '../lib/signer.ts'

/** Distinguishes requests by method, URL and body, without storing any of them. */
export interface Fingerprints {
  of(request: FastifyRequest): Buffer
  /**
   * Whether a stored fingerprint belongs to another request. False if its key is gone or an older version made it: it
   * cannot be compared, and the client's claim that the request is the same stands.
   */
  isOther(request: FastifyRequest, kept: Buffer): boolean
}

const FORM = /^([\w-]+)\.[\w-]{43}$/

/** Keyed, so that a request's body cannot be recovered from the database by trying all candidates. */
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

/** Ignores the order of a body's keys. */
function textOf(request: FastifyRequest): string {
  return JSON.stringify([request.method, request.url, request.body], inKeyOrder)
}

function inKeyOrder(_key: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
}
