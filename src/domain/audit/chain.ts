import { createHash } from 'node:crypto'
import { sql } from 'drizzle-orm'
import { auditLogs } from '../../../drizzle/schema.ts'
import { microseconds } from '../base/page.ts'

/** What stands before the first link, and in the place of a digest of nothing. */
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
  /** Microseconds since 1970. */
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

/** What the MAC of a row covers: all of it. The same for the row that is about to be written and for the one read back. */
export function rowText(row: ChainedRow): string {
  return JSON.stringify([...factsOf(row), ...personalOf(row).slice(0, -1), canonicalJson(row.detailsText)])
}

/** What the MAC of an erasure covers: what is left of the row in its place of the chain. */
export function erasureText(seq: number, row: ChainedRow): string {
  return JSON.stringify([seq, row.id, row.at, ...personalOf(row)])
}

/**
 * Digests what tells of a person, apart from the rest: when it is erased, this digest stays in the chain, and the salt
 * goes, so that nobody can try names and addresses until one fits.
 */
export function personalDigestOf(row: ChainedRow, salt: Buffer): Buffer {
  return createHash('sha256')
    .update(salt)
    .update(JSON.stringify(personalOf(row)))
    .digest()
}

/** Digests a row: what it says apart from persons, and the digest of the rest. */
export function rowDigestOf(row: ChainedRow, personalDigest: Buffer): Buffer {
  return createHash('sha256')
    .update(JSON.stringify(factsOf(row)))
    .update(personalDigest)
    .digest()
}

/** What a link says of its row and of the link before it. */
export interface LinkFacts {
  seq: number
  rowId: string
  /** The instant of the row, in microseconds since 1970. */
  rowAt: string
  /** Whether the row had the MAC of a key of the server when it was sealed. */
  isGenuine: boolean
  /** Whether the link before it was authenticated when this one was added. */
  isContinuous: boolean
  /** {@link GENESIS} when the row was gone before it was sealed. */
  rowDigest: Buffer
}

/** The digest of a link: over the one before it and all that it says itself. */
export function linkDigest(previous: Buffer, link: LinkFacts): Buffer {
  const { seq, rowId, rowAt, isGenuine, isContinuous, rowDigest } = link
  return createHash('sha256')
    .update(previous)
    .update(JSON.stringify([seq, rowId, rowAt, isGenuine, isContinuous]))
    .update(rowDigest)
    .digest()
}

/** What the MAC of a link covers; with it, all links up to it. */
export function linkText(seq: number, digest: Buffer): string {
  return `${seq}\n${digest.toString('hex')}`
}

/** The digest of a link that was made before links and rows had MACs. */
export function plainLinkDigest(previous: Buffer, seq: number, row: ChainedRow, personalDigest: Buffer): Buffer {
  return createHash('sha256')
    .update(previous)
    .update(JSON.stringify([seq, ...factsOf(row)]))
    .update(personalDigest)
    .digest()
}

function factsOf({ id, at, eventType, action, outcome, userId, teamId, appId, ...row }: ChainedRow) {
  return [id, at, eventType, action, outcome, userId, teamId, appId, row.resource, row.resourceId, row.requestId]
}

function personalOf({ actor, ip, userAgent, resourceName, detailsText }: ChainedRow) {
  return [actor, ip, userAgent, resourceName, detailsText]
}

/** JSON without what PostgreSQL changes in it: the order of keys, blanks, and how numbers are written. */
function canonicalJson(text: string | null): string | null {
  return text === null ? null : JSON.stringify(sorted(JSON.parse(text)))
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted)
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))
  return Object.fromEntries(entries.map(([key, item]) => [key, sorted(item)]))
}
