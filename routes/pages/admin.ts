import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { errors } from '../../plugins/lib/errors.ts'
import * as schemas from '../../schemas/admin-pages.ts'
import { setOperator } from '../../src/domain/accounts/operators.ts'
import { platformStats } from '../../src/domain/platform/stats.ts'
import { overviewPage } from '../../views/admin/overview.ts'
import type { Problem, Values } from '../../views/parts.ts'
import { cached } from '../lib/cached.ts'
import { changes } from '../lib/change.ts'
import { leadingTo, submit } from '../lib/forms.ts'
import { sendPage } from '../lib/page.ts'
import { operatorForms, operatorPages } from '../lib/policy.ts'

export interface AdminPagesOptions {
  readonly version: string
}

/** Seconds that charts cover: this page has none. */
const NO_CHARTS = 0

/** The operators' start page and the forms of their pages. The lists share their routes with the API. */
const adminPages: FastifyPluginCallbackTypebox<AdminPagesOptions> = (app, { version }, done) => {
  const change = changes(app)
  const stats = cached(app, 'admin_stats', () => platformStats(app.db))

  app.get('/admin', {
    schema: schemas.overview,
    config: operatorPages,
    handler: (request, reply) => sendOverview(request, reply, {})
  })

  app.post('/admin/closing', {
    schema: schemas.submitClosing,
    attachValidation: true,
    config: {
      ...operatorForms,
      rateClass: 'strict',
      audit: { type: 'admin', action: 'update', resource: 'maintenance' }
    },
    handler: (request, reply) =>
      submit(request, reply, {
        again: problem => sendOverview(request, reply, request.body, problem),
        run: async () => {
          await close(request, request.body)
          return reply.redirect('/admin?done=saved', 303)
        }
      })
  })

  app.post('/admin/jobs/:id/again', {
    schema: schemas.submitRetry,
    config: { ...operatorForms, audit: { type: 'admin', action: 'retry', resource: 'job' } },
    handler: (request, reply) =>
      change(request, reply, async tx => {
        const { id } = request.params
        if ((await app.jobs.retry(tx, id)) === null) throw errors.notFound('Job')
        return leadingTo('/admin/jobs?done=retrying', { status: 202, audit: { resourceId: id } })
      })
  })

  app.post('/admin/users/:user/role', {
    schema: schemas.submitRole,
    config: { ...operatorForms, stepUp: true, audit: { type: 'admin', action: 'change', resource: 'operator' } },
    handler: (request, reply) =>
      change(request, reply, async tx => {
        const isOperator = request.body.operator === 'yes'
        const { user, changed } = await setOperator(tx, request.params.user, isOperator)
        const action = isOperator ? 'grant' : 'revoke'
        return leadingTo('/admin/users?done=saved', {
          status: 200,
          audit: changed ? { action, resourceId: user.id, resourceName: user.username } : null,
          committed: () => app.auth.forget(user.id)
        })
      })
  })

  async function sendOverview(request: FastifyRequest, reply: FastifyReply, values: Values, problem?: Problem) {
    const report = app.hasDecorator('operations') ? await app.operations.report(NO_CHARTS) : undefined
    return sendPage(
      app,
      request,
      reply,
      overviewPage({
        version,
        stats: await stats('all'),
        maintenance: app.maintenance.state,
        services: app.hasDecorator('health') ? app.health.latest()?.services : undefined,
        waiting: report?.jobs,
        backupAt: report?.backup.last.at ?? undefined,
        values,
        ...(problem && { problem })
      })
    )
  }

  /** Closing locks everyone out, so it needs a confirmation; reopening and changing the message do not. */
  async function close(request: FastifyRequest, { enabled, message, until, confirm }: ClosingForm): Promise<void> {
    const isClosing = enabled === 'yes' && !app.maintenance.state.enabled
    if (isClosing && confirm === undefined)
      throw errors.validation('confirm', 'tick "Yes, turn visitors away now" to close the platform')
    if (enabled === 'no') await app.maintenance.change(request, { enabled: false })
    else await app.maintenance.change(request, { enabled: true, message: message ?? null, until: instantOf(until) })
  }

  done()
}

type ClosingForm = { enabled: 'yes' | 'no'; message?: string; until?: string; confirm?: string }

/** `datetime-local` sends no time zone; the page asks for UTC. */
function instantOf(text: string | undefined): string | null {
  if (text === undefined) return null
  const at = new Date(`${text}Z`)
  if (Number.isNaN(at.getTime()))
    throw errors.validation('until', 'must be a date and a time, such as 2026-01-31T12:00')
  return at.toISOString()
}

export default adminPages
