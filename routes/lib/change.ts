import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Audit, AuditEvent } from '../../plugins/audit/index.ts'
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

/**
 * Runs changes: the change, its audit row and the record of its Idempotency-Key are one transaction, and the reply is
 * sent after the commit. Also works without the audit or the idempotency plugin.
 */
export function changes(app: FastifyInstance) {
  const once: Idempotency['run'] = app.hasDecorator('idempotency')
    ? app.idempotency.run
    : (_tx, _request, work) => work()
  const record: Audit['record'] = app.hasDecorator('audit') ? app.audit.record : async () => {}

  return async (request: FastifyRequest, reply: FastifyReply, run: (tx: Db) => Promise<Changed>) => {
    let changed: Changed | undefined
    const { status, headers, body } = await app.db.transaction(async tx => {
      const answer = await once(
        tx,
        request,
        async () => {
          changed = await run(tx)
          return { ...answerOf(changed), subject: subjectOf(request) ?? changed.audit?.teamId ?? null }
        },
        ({ subject, body }) => admitReplay(tx, request, subject, body)
      )
      if (changed?.audit) {
        const event = { ...request.routeOptions.config.audit!, ...changed.audit }
        await record(tx, request, event, { isLast: true })
      }
      return answer
    })
    changed?.committed?.()
    if (changed?.page !== undefined) return changed.page()
    return reply
      .code(status)
      .headers(headers ?? {})
      .send(body ?? undefined)
  }
}

/** A reply without a body reveals nothing, and a deleted object has no team to check. */
async function admitReplay(tx: Db, request: FastifyRequest, teamId: string | null, body: unknown): Promise<void> {
  if (teamId !== null && body != null) await admitAgain(tx, request, teamId)
}

function answerOf({ status, headers, body, shownOnce }: Changed): Reply {
  const answer = { status, ...(headers && { headers }) }
  return shownOnce ? { ...answer, body: { ...body, ...shownOnce }, storedBody: body } : { ...answer, body }
}
