import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Audit, AuditEvent } from '../../plugins/audit/index.ts'
import type { Idempotency, Reply } from '../../plugins/idempotency/index.ts'
import type { Db } from '../../src/domain/base/db.ts'
import { admitAgain, subjectOf } from './access.ts'

/** What a change did, and what to answer. */
export interface Changed {
  status: number
  headers?: Record<string, string>
  body?: object
  /** Goes into the body of this one reply and is stored nowhere: a repeated reply is without it. */
  shownOnce?: object
  /**
   * What the audit log says beyond the route's `config.audit` and what the request was found to be about; null when there
   * was nothing to change.
   */
  audit: (Omit<AuditEvent, 'type' | 'action' | 'resource'> & { action?: string }) | null
  /** Is called when the change is committed, before the client hears of it. */
  committed?: () => void
}

/**
 * How an app runs a change: the change itself, its row in the audit log and the record of its Idempotency-Key are one
 * transaction, and the client hears of it when that is committed. Either concern can be left out of the server.
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
    return reply
      .code(status)
      .headers(headers ?? {})
      .send(body ?? undefined)
  }
}

/** A reply without a body tells nothing; and of what was deleted there is nobody left to ask. */
async function admitReplay(tx: Db, request: FastifyRequest, teamId: string | null, body: unknown): Promise<void> {
  if (teamId !== null && body != null) await admitAgain(tx, request, teamId)
}

function answerOf({ status, headers, body, shownOnce }: Changed): Reply {
  const answer = { status, ...(headers && { headers }) }
  return shownOnce ? { ...answer, body: { ...body, ...shownOnce }, storedBody: body } : { ...answer, body }
}
