import type { FastifyRequest } from 'fastify'
import type { AuditType } from '../lib/own-types.ts'

/** `denied`: the caller lacked permission. `failure`: anything else went wrong. */
export const AUDIT_OUTCOMES = ['success', 'failure', 'denied'] as const
export type AuditOutcome = (typeof AUDIT_OUTCOMES)[number]

/** An event as stored. */
export interface AuditRow {
  /** If absent, the sink generates one. */
  id?: string
  eventType: AuditType
  action: string
  outcome: AuditOutcome
  userId?: string | null
  /** The actor's name at the time; for an automatic action, the component that acted. */
  actor?: string | null
  teamId: string | null
  appId: string | null
  resource: string
  resourceId: string | null
  resourceName: string | null
  details: Record<string, unknown> | null
  ip?: string | null
  userAgent?: string | null
  requestId?: string | null
  /** Absent: now. */
  createdAt?: Date
}

/** An action, done or attempted. */
export interface AuditEvent {
  readonly type: AuditType
  /** A verb: `create`, `update`, `deploy`, `grant`. */
  readonly action: string
  /** The kind of resource: `app`, `env_var`, `token`. */
  readonly resource: string
  readonly resourceId?: string | null
  /** The resource's name at the time. */
  readonly resourceName?: string | null
  readonly teamId?: string | null
  readonly appId?: string | null
  /** Further details; only keys that the catalogue allows for `resource.action` are kept. */
  readonly details?: Readonly<Record<string, unknown>>
  readonly outcome?: AuditOutcome
}

/** An automatic action, without a request. */
export interface SystemAuditEvent extends AuditEvent {
  /** The component that acted: `maintenance schedule`. */
  readonly actor: string
}

/** The keys of `details` that are kept, by `resource.action`. */
export type DetailsCatalogue = Readonly<Record<string, readonly string[]>>

const LONGEST_NAME = 255
const LONGEST_USER_AGENT = 512
const LONGEST_DETAIL = 500
const MOST_DETAILS = 50
const DEEPEST_DETAIL = 3

export function systemRow(event: SystemAuditEvent, catalogue: DetailsCatalogue): AuditRow {
  return { ...rowOf(event, catalogue), actor: storable(event.actor, LONGEST_NAME) }
}

/** The event plus the facts of its request: caller, address, user agent and request id. */
export function requestRow(request: FastifyRequest, event: AuditEvent, catalogue: DetailsCatalogue): AuditRow {
  const address = request.clientIp?.address ?? request.socket?.remoteAddress
  const agent = request.headers['user-agent']
  return {
    ...rowOf(event, catalogue),
    userId: request.principal?.userId ?? null,
    actor: storable(request.principal?.username, LONGEST_NAME),
    ip: storable(address, 50),
    userAgent: storable(agent, LONGEST_USER_AGENT),
    requestId: storable(request.id, 64)
  }
}

function rowOf(event: AuditEvent, catalogue: DetailsCatalogue): AuditRow {
  return {
    eventType: event.type,
    action: event.action,
    outcome: event.outcome ?? 'success',
    teamId: event.teamId ?? null,
    appId: event.appId ?? null,
    resource: event.resource,
    resourceId: storable(event.resourceId, LONGEST_NAME),
    resourceName: storable(event.resourceName, LONGEST_NAME),
    details: allowedDetails(event, catalogue)
  }
}

function allowedDetails({ details, resource, action }: AuditEvent, catalogue: DetailsCatalogue): AuditRow['details'] {
  if (details === undefined) return null
  let kept: Record<string, unknown> | null = null
  for (const key of catalogue[`${resource}.${action}`] ?? [])
    if (Object.hasOwn(details, key) && details[key] !== undefined) {
      kept ??= {}
      kept[key] = bounded(details[key])
    }
  return kept
}

/** A value as JSON of bounded size, so that no client can fill the log. */
function bounded(value: unknown, depth = 1): unknown {
  if (typeof value === 'string') return storable(value, LONGEST_DETAIL)
  if (typeof value === 'number' || typeof value === 'boolean' || value === null) return value
  if (value instanceof Date) return value.toJSON()
  if (typeof value !== 'object' || depth === DEEPEST_DETAIL) return null
  if (Array.isArray(value)) return value.slice(0, MOST_DETAILS).map(item => bounded(item, depth + 1))
  const entries = Object.entries(value).slice(0, MOST_DETAILS)
  return Object.fromEntries(entries.map(([key, item]) => [storable(key, LONGEST_NAME), bounded(item, depth + 1)]))
}

/** Text that PostgreSQL accepts, truncated without splitting a character. */
function storable(text: string | null | undefined, longest: number): string | null {
  if (text === null || text === undefined) return null
  const clean = text.replaceAll('\0', '').toWellFormed()
  if (clean.length <= longest) return clean
  return clean.slice(0, longest).replace(/[\uD800-\uDBFF]$/, '')
}
