import { createHash } from 'node:crypto'
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
 */
export function rowText(row: ChainedRow): string {
  return JSON.stringify([...factsOf(row), ...personalOf(row).slice(0, -1), canonicalJson(row.detailsText)])
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
  return createHash('sha256')
    .update(salt)
    .update(JSON.stringify(personalOf(row)))
    .digest()
}

/** Digests a row: its other fields, and the digest of its personal data. */
export function rowDigestOf(row: ChainedRow, personalDigest: Buffer): Buffer {
  return createHash('sha256')
    .update(JSON.stringify(factsOf(row)))
    .update(personalDigest)
    .digest()
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
  return createHash('sha256')
    .update(previous)
    .update(JSON.stringify([seq, rowId, rowAt, isGenuine, isContinuous]))
    .update(rowDigest)
    .digest()
}

/** The text that the MAC of a link covers. Through the digest it covers every earlier link too. */
export function linkText(seq: number, digest: Buffer): string {
  return `${seq}\n${digest.toString('hex')}`
}

/** The digest of a link from a version without MACs. */
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

/** JSON normalized for differences that PostgreSQL introduces: key order, spaces, number notation. */
function canonicalJson(text: string | null): string | null {
  return text === null ? null : JSON.stringify(sorted(JSON.parse(text)))
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted)
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))
  return Object.fromEntries(entries.map(([key, item]) => [key, sorted(item)]))
}
