import { createHash, createPrivateKey, createPublicKey, hkdfSync, type KeyObject, sign, verify } from 'node:crypto'
import { sql } from 'drizzle-orm'
import { auditLogs } from '../../../drizzle/schema.ts'
import { microseconds } from '../base/page.ts'
import type { Keyring } from '../base/secret-box.ts'

/** What stands before the first link. */
export const GENESIS = Buffer.alloc(32)

/** Everything of a row that a link of the chain vouches for. `details` as PostgreSQL writes it, which is always the same. */
export const chainedFields = {
  id: auditLogs.id,
  at: microseconds(auditLogs.createdAt).as('at'),
  eventType: auditLogs.eventType,
  action: auditLogs.action,
  outcome: auditLogs.outcome,
  userId: auditLogs.userId,
  teamId: auditLogs.teamId,
  appId: auditLogs.appId,
  resource: auditLogs.resource,
  resourceId: auditLogs.resourceId,
  requestId: auditLogs.requestId,
  actor: auditLogs.actor,
  ip: auditLogs.ip,
  userAgent: auditLogs.userAgent,
  resourceName: auditLogs.resourceName,
  detailsText: sql<string | null>`${auditLogs.details}::text`.as('details_text')
}

export interface ChainedRow {
  id: string
  at: string
  eventType: string
  action: string
  outcome: string
  userId: string | null
  teamId: string | null
  appId: string | null
  resource: string
  resourceId: string | null
  requestId: string | null
  actor: string | null
  ip: string | null
  userAgent: string | null
  resourceName: string | null
  detailsText: string | null
}

/**
 * Digests what tells of a person, apart from the rest: when it is erased, this digest stays in the chain, and the salt
 * goes, so that nobody can try names and addresses until one fits.
 */
export function personalDigestOf(row: ChainedRow, salt: Buffer): Buffer {
  const { actor, ip, userAgent, resourceName, detailsText } = row
  const personal = JSON.stringify([actor, ip, userAgent, resourceName, detailsText])
  return createHash('sha256').update(salt).update(personal).digest()
}

/** The digest of a link: over the one before it, its own number, and the row. */
export function linkDigest(previous: Buffer, seq: number, row: ChainedRow, personalDigest: Buffer): Buffer {
  const { id, at, eventType, action, outcome, userId, teamId, appId, resource, resourceId, requestId } = row
  const facts = [seq, id, at, eventType, action, outcome, userId, teamId, appId, resource, resourceId, requestId]
  return createHash('sha256').update(previous).update(JSON.stringify(facts)).update(personalDigest).digest()
}

/** A link that was signed, and from when on rows must be there. */
export interface Checkpoint {
  seq: number
  digest: Buffer
  retainedFrom: Date | null
}

/** Signs checkpoints with keys derived from a keyring: the newest signs, and all of them verify. */
export class CheckpointSigner {
  readonly #ring: Keyring

  constructor(ring: Keyring) {
    this.#ring = ring
  }

  sign(checkpoint: Checkpoint): { keyId: string; signature: Buffer } {
    const { id, key } = this.#ring.current
    return { keyId: id, signature: sign(null, signedText(checkpoint), signingKey(key)) }
  }

  /** @returns undefined when the key is not in the ring any more */
  verify(checkpoint: Checkpoint, keyId: string, signature: Buffer): boolean | undefined {
    const key = this.#ring.keys.get(keyId)
    return key && verify(null, signedText(checkpoint), createPublicKey(signingKey(key)), signature)
  }
}

function signedText({ seq, digest, retainedFrom }: Checkpoint): Buffer {
  return Buffer.from(`rhone audit checkpoint 1\n${seq}\n${digest.toString('hex')}\n${retainedFrom?.toJSON() ?? '-'}\n`)
}

const PKCS8_ED25519 = Buffer.from('302e020100300506032b657004220420', 'hex')

/** A key of its own, so that no signature made for one purpose can be shown for another. */
function signingKey(ringKey: Buffer): KeyObject {
  const seed = Buffer.from(hkdfSync('sha256', ringKey, '', 'rhone audit checkpoint', 32))
  return createPrivateKey({ key: Buffer.concat([PKCS8_ED25519, seed]), format: 'der', type: 'pkcs8' })
}
