import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { errors } from '../../plugins/lib/errors.ts'
import * as schemas from '../../schemas/account-pages.ts'
import { findAccountOf } from '../../src/domain/accounts/local-accounts.ts'
import { listSessions } from '../../src/domain/accounts/sessions.ts'
import { listTokens } from '../../src/domain/accounts/tokens.ts'
import { findUser } from '../../src/domain/accounts/users.ts'
import { GRACE_DAYS } from '../../src/domain/privacy/leaving.ts'
import {
  accountDeletedPage,
  deleteAccountPage,
  newTokenPage,
  settingsPage,
  tokenOncePage
} from '../../views/account/settings.ts'
import type { Problem, Values } from '../../views/parts.ts'
import type { PasswordRoutesOptions } from '../auth/passwords.ts'
import { callerOf } from '../lib/access.ts'
import { changes } from '../lib/change.ts'
import { leadingTo, submit } from '../lib/forms.ts'
import { accountActions, accountAudit, passwordChange } from '../lib/me.ts'
import { sendPage } from '../lib/page.ts'
import { forms, pages } from '../lib/policy.ts'

/** Nobody reads a longer list. */
const MOST = 100
const DAY = 86_400_000

const open = { ...pages, access: 'authenticated', scope: 'admin' } as const
const sends = { ...forms, access: 'authenticated' } as const

/** The caller's own account. */
const settings: FastifyPluginCallbackTypebox<PasswordRoutesOptions> = (app, options, done) => {
  const change = changes(app)
  const actions = accountActions(app)
  const changePassword = passwordChange(app, options)

  app.get('/settings', {
    schema: schemas.settingsPage,
    config: open,
    handler: async (request, reply) => sendSettings(request, reply)
  })

  app.post('/settings/sessions/:id/end', {
    schema: schemas.submitSessionEnd,
    config: { ...sends, audit: accountAudit.revokeSession },
    handler: (request, reply) =>
      change(request, reply, async tx => {
        const ended = await actions.revokeSession(tx, request, request.params.id)
        return leadingTo('/settings?done=session-ended#sessions', ended)
      })
  })

  app.post('/settings/sessions/end', {
    schema: schemas.submitSessionsEnd,
    config: { ...sends, audit: accountAudit.revokeSession },
    handler: (request, reply) =>
      change(request, reply, async tx => {
        const isEverywhere = request.body.everywhere !== undefined
        const ended = await actions.revokeSessions(tx, request, !isEverywhere)
        return leadingTo(isEverywhere ? '/login' : '/settings?done=sessions-ended#sessions', ended)
      })
  })

  app.get('/settings/tokens/new', {
    schema: schemas.newTokenPage,
    config: { ...open, stepUp: true },
    handler: async (request, reply) => sendPage(app, request, reply, newTokenPage({ values: {} }))
  })

  app.post('/settings/tokens/new', {
    schema: schemas.submitNewToken,
    attachValidation: true,
    config: { ...sends, rateClass: 'strict', stepUp: true, audit: accountAudit.createToken },
    handler: (request, reply) =>
      submit(request, reply, {
        again: problem => sendNewToken(request, reply, request.body, problem),
        run: () =>
          change(request, reply, async tx => {
            const { name, scope, team, lifetime } = request.body
            const end = lifetime === 'never' ? undefined : new Date(Date.now() + Number(lifetime) * DAY)
            const created = await actions.createToken(tx, request, {
              name,
              scopes: [scope],
              ...(team !== undefined && { team }),
              ...(end !== undefined && { expiresAt: end.toISOString() })
            })
            const { token } = created.shownOnce
            return {
              ...leadingTo('/settings?done=token-made#tokens', created),
              page: () => sendPage(app, request, reply, tokenOncePage(created.body.name, token))
            }
          })
      })
  })

  app.post('/settings/tokens/:id/revoke', {
    schema: schemas.submitTokenRevocation,
    config: { ...sends, audit: accountAudit.revokeToken },
    handler: (request, reply) =>
      change(request, reply, async tx => {
        const revoked = await actions.revokeToken(tx, request, request.params.id)
        return leadingTo('/settings?done=token-revoked#tokens', revoked)
      })
  })

  app.post('/settings/password', {
    schema: schemas.submitPassword,
    attachValidation: true,
    config: { ...sends, rateClass: 'strict', audit: accountAudit.changePassword },
    handler: (request, reply) =>
      submit(request, reply, {
        again: problem => sendSettings(request, reply, problem),
        run: async () => {
          const changed = await changePassword(request, reply, request.body)
          return change(request, reply, async tx =>
            leadingTo('/settings?done=password-changed#password', await changed(tx))
          )
        }
      })
  })

  app.get('/settings/delete', {
    schema: schemas.deleteAccountPage,
    config: { ...open, stepUp: true },
    handler: async (request, reply) => sendPage(app, request, reply, deleteAccountPage(GRACE_DAYS))
  })

  app.post('/settings/delete', {
    schema: schemas.submitAccountDeletion,
    attachValidation: true,
    config: { ...sends, rateClass: 'strict', stepUp: true, audit: accountAudit.deleteAccount },
    handler: (request, reply) =>
      submit(request, reply, {
        again: ({ fields, message }) =>
          sendPage(app, request, reply, deleteAccountPage(GRACE_DAYS, fields.confirm ?? message)),
        run: () =>
          change(request, reply, async tx => {
            const { username } = callerOf(request)
            if (request.body.confirm !== username)
              throw errors.validation('confirm', `this is not ${username}, so nothing was deleted`)
            const deleted = await actions.deleteAccount(tx, request)
            const page = accountDeletedPage(deleted.shownOnce.code, deleted.body.eraseAfter)
            return { ...leadingTo('/login', deleted), page: () => sendPage(app, request, reply, page) }
          })
      })
  })

  async function sendSettings(request: FastifyRequest, reply: FastifyReply, problem?: Problem): Promise<FastifyReply> {
    const { userId, credentialId } = callerOf(request)
    const [user, account, sessions, tokens] = await Promise.all([
      findUser(app.db, userId),
      findAccountOf(app.db, userId),
      listSessions(app.db, userId, { limit: MOST }),
      listTokens(app.db, userId, { limit: MOST })
    ])
    const page = {
      user,
      sessions: sessions.items.map(item => ({ ...item, isCurrent: item.id === credentialId })),
      tokens: tokens.items,
      isCut: sessions.nextCursor !== null || tokens.nextCursor !== null,
      login: options.passwords === null ? null : (account?.login ?? null),
      problem
    }
    return sendPage(app, request, reply, settingsPage(page))
  }

  function sendNewToken(request: FastifyRequest, reply: FastifyReply, values: Values, problem: Problem) {
    return sendPage(app, request, reply, newTokenPage({ values, problem }))
  }

  done()
}

export default settings
