import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { cookieName, readCookie, setCookie } from '../../plugins/lib/cookies.ts'
import { AppError } from '../../plugins/lib/errors.ts'
import * as schemas from '../../schemas/team-pages.ts'
import { declineInvitation, readInvitation } from '../../src/domain/teams/invitations.ts'
import { invitationPage, invitationTokenPage, noInvitationPage } from '../../views/teams/invitation.ts'
import { callerOf } from '../lib/access.ts'
import { changes } from '../lib/change.ts'
import { leadingTo, submit } from '../lib/forms.ts'
import { sendPage } from '../lib/page.ts'
import { forms, pages } from '../lib/policy.ts'
import { teamActions } from '../lib/teams.ts'

export interface InvitationPagesOptions {
  readonly baseUrl: URL
}

const TOKEN = /^[0-9a-f]{64}$/
/** Seconds for which the browser keeps the token of an opened link. */
const KEPT = 600
const PATH = '/invitations/accept'

/**
 * An invitation, for the invited person. The token is in the URL only once: the link redirects to a page without it,
 * which finds the token in a cookie, so that no history, log or referrer of later pages has it.
 */
const invitationPages: FastifyPluginCallbackTypebox<InvitationPagesOptions> = (app, { baseUrl }, done) => {
  const change = changes(app)
  const { accept } = teamActions(app)
  const secure = baseUrl.protocol === 'https:'
  const cookie = cookieName('rhone_invitation', secure)

  app.get(PATH, {
    schema: schemas.invitation,
    config: { ...pages, access: 'authenticated' },
    handler: async (request, reply) => {
      const { token } = request.query
      if (token !== undefined)
        return reply
          .header('referrer-policy', 'no-referrer')
          .header('set-cookie', setCookie(cookie, token, { secure, maxAge: KEPT }))
          .redirect(PATH, 303)
      const kept = readCookie(request, cookie)
      if (kept === undefined || !TOKEN.test(kept)) return sendPage(app, request, reply, invitationTokenPage())
      return sendInvitation(request, reply, kept)
    }
  })

  app.post(PATH, {
    schema: schemas.submitInvitationAnswer,
    attachValidation: true,
    config: {
      ...forms,
      access: 'authenticated',
      rateClass: 'auth',
      audit: { type: 'team', action: 'accept', resource: 'team' }
    },
    handler: (request, reply) =>
      submit(request, reply, {
        again: ({ message, fields }) =>
          fields.token === undefined
            ? sendPage(app, request, reply, noInvitationPage(message))
            : sendPage(app, request, reply, invitationTokenPage(fields.token, request.body.token)),
        run: () => {
          const { token, answer } = request.body
          if (answer === undefined) return sendInvitation(request, reply, token)
          reply.header('set-cookie', setCookie(cookie, '', { secure, maxAge: 0 }))
          return change(request, reply, async tx => {
            if (answer === 'decline') return decline(await declineInvitation(tx, callerOf(request).userId, token))
            const accepted = await accept(tx, request, token)
            return leadingTo(`/teams/${accepted.team.slug}?done=joined`, accepted)
          })
        }
      })
  })

  function decline({ invitation: { id, role }, team }: Awaited<ReturnType<typeof declineInvitation>>) {
    const event = { resource: 'invitation', action: 'decline', resourceId: id, teamId: team.id, details: { role } }
    return leadingTo('/dashboard?done=declined', { status: 204, audit: event })
  }

  /** An expired, unknown or foreign invitation has a page that says so, with the same status. */
  async function sendInvitation(request: FastifyRequest, reply: FastifyReply, token: string): Promise<FastifyReply> {
    try {
      const found = await readInvitation(app.db, callerOf(request).userId, token)
      return await sendPage(app, request, reply, invitationPage(found, token))
    } catch (error) {
      if (!(error instanceof AppError) || error.statusCode >= 500) throw error
      const reason = error.statusCode === 404 ? 'This invitation does not exist' : (error.detail ?? error.message)
      return sendPage(app, request, reply.code(error.statusCode), noInvitationPage(reason))
    }
  }

  done()
}

export default invitationPages
