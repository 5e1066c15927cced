import type { FastifyRequest } from 'fastify'
import type { Db } from '../lib/own-types.ts'
import type { AuditEvent, SystemAuditEvent } from './row.ts'
import type { StoredRow } from './sink.ts'

/** `app.audit`. */
export interface Audit {
  /**
   * Records a change that the request made, in the same transaction: if it rejects, let the transaction fail. `tx` is
   * null when there is no transaction to join. With `isLast`, the transaction does nothing afterwards.
   */
  record(tx: Db | null, request: FastifyRequest, event: AuditEvent, settings?: { isLast: boolean }): Promise<void>
  /**
   * Records a change made by a statement that writes its row, too. `change` gets that row, and returns undefined if it
   * has changed nothing, and so recorded nothing.
   *
   * @returns the result of `change`; undefined, without calling it, if the sink needs a statement of its own
   */
  recordWith<T>(
    request: FastifyRequest,
    event: AuditEvent,
    change: (row: StoredRow) => Promise<T | undefined>
  ): Promise<T | undefined>
  /** Like `record`, for a change made without a request. */
  recordSystem(tx: Db | null, event: SystemAuditEvent): Promise<void>
  /** Records an attempt that changed nothing. Returns immediately; the row is written in the background. */
  attempt(request: FastifyRequest, event: AuditEvent): void
  /** Sets the team whose resource a request concerns, so that a refusal appears in that team's audit log. */
  about(request: FastifyRequest, subject: AuditSubject): void
}

/** What every call of a route is about. */
export type AuditedCall = Pick<AuditEvent, 'type' | 'action' | 'resource'>

export type AuditSubject = Pick<AuditEvent, 'teamId' | 'appId' | 'resourceId' | 'resourceName'>
