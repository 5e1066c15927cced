import { hash } from 'node:crypto'
import { sql } from 'drizzle-orm'
import { auditLogs } from '../../../drizzle/schema.ts'
import { microseconds } from '../base/page.ts'

/** The digest before the first link; also stands for the digest of a missing row. */
export const GENESIS = Buffer.alloc(32)

/** The fields that a link of the chain covers. `details` is PostgreSQL's text of it, which is deterministic. */
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

/**
 * The text that the MAC of a row covers: every field. It is the same before the row is written and after it is read.
 *
 * @param details by default derived from the text in the row; see {@link canonicalDetails}
 */
export function rowText(row: ChainedRow, details = canonicalJson(row.detailsText)): string {
  const { actor, ip, userAgent, resourceName } = row
  return JSON.stringify(factsOf(row).concat(actor, ip, userAgent, resourceName, details))
}

/** The text of details that are written now. What is read back from this text has the same canonical text. */
export function canonicalDetails(details: object): string {
  return JSON.stringify(sorted(details))
}

/** The text that the MAC of an erasure covers: the remaining personal fields of the row, and its place in the chain. */
export function erasureText(seq: number, row: ChainedRow): string {
  return JSON.stringify([seq, row.id, row.at, ...personalOf(row)])
}

/**
 * Digests the personal data of a row separately. When it is erased, this digest stays in the chain and the salt is
 * removed, so that names and addresses cannot be confirmed by trying them.
 */
export function personalDigestOf(row: ChainedRow, salt: Buffer): Buffer {
  return sha256(salt, JSON.stringify(personalOf(row)))
}

/** Digests a row: its other fields, and the digest of its personal data. */
export function rowDigestOf(row: ChainedRow, personalDigest: Buffer): Buffer {
  return sha256(JSON.stringify(factsOf(row)), personalDigest)
}

/** What a link states about its row and about the previous link. */
export interface LinkFacts {
  seq: number
  rowId: string
  /** The instant of the row, in microseconds since 1970. */
  rowAt: string
  /** Whether the row had the MAC of a key of the server when it was sealed. */
  isGenuine: boolean
  /** Whether the link before it was authenticated when this one was added. */
  isContinuous: boolean
  /** {@link GENESIS} if the row was gone before it was sealed. */
  rowDigest: Buffer
}

/** The digest of a link: over the previous digest and its own facts. */
export function linkDigest(previous: Buffer, link: LinkFacts): Buffer {
  const { seq, rowId, rowAt, isGenuine, isContinuous, rowDigest } = link
  return sha256(previous, JSON.stringify([seq, rowId, rowAt, isGenuine, isContinuous]), rowDigest)
}

/** The text that the MAC of a link covers. Through the digest it covers every earlier link too. */
export function linkText(seq: number, digest: Buffer): string {
  return `${seq}\n${digest.toString('hex')}`
}

/** The digest of a link from a version without MACs. */
export function plainLinkDigest(previous: Buffer, seq: number, row: ChainedRow, personalDigest: Buffer): Buffer {
  return sha256(previous, JSON.stringify([seq, ...factsOf(row)]), personalDigest)
}

/**
 * The digest of the parts, one after the other. The one-shot function takes a quarter of the time of a hash object, if
 * it returns text: a Buffer of its own would cost more than the digest.
 */
function sha256(...parts: readonly (Buffer | string)[]): Buffer {
  const bytes = Buffer.concat(parts.map(part => (typeof part === 'string' ? Buffer.from(part) : part)))
  return Buffer.from(hash('sha256', bytes, 'binary'), 'binary')
}

function factsOf(row: ChainedRow): (string | null)[] {
  const { id, at, eventType, action, outcome, userId, teamId, appId, resource, resourceId, requestId } = row
  return [id, at, eventType, action, outcome, userId, teamId, appId, resource, resourceId, requestId]
}

function personalOf({ actor, ip, userAgent, resourceName, detailsText }: ChainedRow): (string | null)[] {
  return [actor, ip, userAgent, resourceName, detailsText]
}

/** JSON normalized for differences that PostgreSQL introduces: key order, spaces, number notation. */
function canonicalJson(text: string | null): string | null {
  return text === null ? null : JSON.stringify(sorted(JSON.parse(text)))
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted)
  if (typeof value !== 'object' || value === null) return value
  if (value instanceof Date) return value.toJSON()
  const given = value as Record<string, unknown>
  const entries = Object.keys(given)
    .sort()
    .map(key => [key, sorted(given[key])])
  return Object.fromEntries(entries)
}
