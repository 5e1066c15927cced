import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Audit, AuditEvent, StoredRow } from '../../plugins/audit/index.ts'
import type { Idempotency, Reply } from '../../plugins/idempotency/index.ts'
import type { Db } from '../../src/domain/base/db.ts'
import { admitAgain, subjectOf } from './access.ts'

/** The result of a change. */
export interface Changed {
  status: number
  headers?: Record<string, string>
  body?: object
  /** Added to the body of this reply only. It is not stored, so a replay lacks it. */
  shownOnce?: object
  /**
   * Sends a page in place of the reply, after the commit: for what a page shows once. A replay gets the reply, which
   * should redirect to the result.
   */
  page?: () => FastifyReply | Promise<FastifyReply>
  /**
   * What the audit log records beyond the route's `config.audit` and the subject of the request; null when nothing
   * changed.
   */
  audit: (Omit<AuditEvent, 'type' | 'action' | 'resource'> & { action?: string }) | null
  /** Called after the commit and before the reply. */
  committed?: () => void
}

/** A change in a transaction. */
export interface Change<Result extends Changed = Changed> {
  (tx: Db): Promise<Result>
  /**
   * Makes the same change by one statement that also writes the audit row.
   *
   * @returns undefined if it takes a transaction after all; nothing has changed then
   */
  atOnce?: (record: RecordWith) => Promise<Result | undefined>
}

/** {@link Audit.recordWith} for one request. */
export type RecordWith = <T>(
  event: NonNullable<Changed['audit']>,
  change: (row: StoredRow) => Promise<T | undefined>
) => Promise<T | undefined>

/**
 * Runs changes: the change, its audit row and the record of its Idempotency-Key are one transaction, and the reply is
 * sent after the commit. A change that one statement can make needs no transaction, unless there is a key to record.
 * Also works without the audit or the idempotency plugin.
 */
export function changes(app: FastifyInstance) {
  const once: Idempotency['run'] = app.hasDecorator('idempotency')
    ? app.idempotency.run
    : (_tx, _request, work) => work()
  const record: Audit['record'] = app.hasDecorator('audit') ? app.audit.record : async () => {}

  return async (request: FastifyRequest, reply: FastifyReply, change: Change) => {
    const { changed, answer } = (await atOnce(request, change)) ?? (await inTransaction(request, change))
    changed?.committed?.()
    if (changed?.page !== undefined) return changed.page()
    const { status, headers, body } = answer
    return reply
      .code(status)
      .headers(headers ?? {})
      .send(body ?? undefined)
  }

  async function atOnce(request: FastifyRequest, change: Change) {
    const hasKey = request.headers['idempotency-key'] !== undefined
    if (change.atOnce === undefined || hasKey || !app.hasDecorator('audit')) return undefined
    const record: RecordWith = (event, run) => app.audit.recordWith(request, eventOf(request, event), run)
    const changed = await change.atOnce(record)
    return changed && { changed, answer: answerOf(changed) }
  }

  async function inTransaction(request: FastifyRequest, change: Change) {
    let changed: Changed | undefined
    const answer = await app.db.transaction(async tx => {
      const answer = await once(
        tx,
        request,
        async () => {
          changed = await change(tx)
          return { ...answerOf(changed), subject: subjectOf(request) ?? changed.audit?.teamId ?? null }
        },
        ({ subject, body }) => admitReplay(tx, request, subject, body)
      )
      if (changed?.audit) await record(tx, request, eventOf(request, changed.audit), { isLast: true })
      return answer
    })
    return { changed, answer }
  }
}

function eventOf(request: FastifyRequest, event: NonNullable<Changed['audit']>): AuditEvent {
  return { ...request.routeOptions.config.audit!, ...event }
}

/** A reply without a body reveals nothing, and a deleted object has no team to check. */
async function admitReplay(tx: Db, request: FastifyRequest, teamId: string | null, body: unknown): Promise<void> {
  if (teamId !== null && body != null) await admitAgain(tx, request, teamId)
}

function answerOf({ status, headers, body, shownOnce }: Changed): Reply {
  const answer = { status, ...(headers && { headers }) }
  return shownOnce ? { ...answer, body: { ...body, ...shownOnce }, storedBody: body } : { ...answer, body }
}
