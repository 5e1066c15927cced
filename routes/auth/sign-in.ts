import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import type { Plan } from '../../drizzle/schema.ts'
import * as schemas from '../../schemas/sign-in.ts'
import { findAccountOf } from '../../src/domain/accounts/local-accounts.ts'
import { signInWithGithub } from '../../src/domain/accounts/sign-in.ts'
import { signInPage } from '../../views/sign-in.ts'
import { safeNext } from '../lib/next.ts'
import { sendSolo } from '../lib/page.ts'
import { signIn, signingIn } from '../lib/sign-in.ts'

export interface SignInOptions {
  /** Whether users may sign in with a password. */
  readonly hasPasswords: boolean
  /** The plan of a new user's personal team. */
  readonly defaultPlan: Plan
}

/** Messages by the code in `?error=`. The query text itself is never shown. */
const PROBLEMS: Readonly<Record<string, string>> = {
  invalid_state: 'That sign-in was not started in this browser, or took too long. Start again, and allow cookies.',
  github_error: 'GitHub refused the sign-in. Start again, and allow Rhone to see who you are.',
  token_exchange: 'GitHub no longer recognizes that sign-in. Start again.',
  user_fetch: 'GitHub did not answer. Try again in a moment.',
  email_unverified:
    'Your primary e-mail address at GitHub is not verified. Verify it in the settings there, then start again.',
  database: 'The server could not complete the sign-in. Try again in a moment.',
  session: 'Your session has ended. Sign in again.'
}
const UNKNOWN_PROBLEM = 'The sign-in was not completed. Start again.'

/** Not "cache": browsers take seconds for it, and pages for signed-in users are not cached. */
const LEFT_BEHIND = '"storage", "prefetchCache", "prerenderCache"'

/** The destination of a sign-in, in words. */
function targetOf(asked: string | undefined, next: string): string | undefined {
  return asked === undefined || asked === '' ? undefined : next.split('?', 1)[0]
}

function problemOf(error: string | undefined): { problem?: string } {
  if (error === undefined) return {}
  return { problem: Object.hasOwn(PROBLEMS, error) ? PROBLEMS[error]! : UNKNOWN_PROBLEM }
}

const signInRoutes: FastifyPluginCallbackTypebox<SignInOptions> = (app, { hasPasswords, defaultPlan }, done) => {
  app.get('/login', {
    schema: schemas.getSignIn,
    config: signingIn,
    handler: async (request, reply) => {
      const next = safeNext(request.query.next)
      const caller = await app.auth.identify(request)
      const isAgain = request.query.again !== undefined && caller?.via === 'session'
      if (caller?.via === 'session' && !isAgain) return reply.redirect(next, 303)
      const page = { github: app.oauth.isConfigured, passwords: hasPasswords, next, ...problemOf(request.query.error) }
      const target = targetOf(request.query.next, next)
      const login = isAgain && hasPasswords ? (await findAccountOf(app.db, caller.userId))?.login : undefined
      return sendSolo(app, request, reply, signInPage({ ...page, target, isAgain, login }))
    }
  })

  app.get('/auth/github', {
    schema: schemas.beginGithub,
    config: signingIn,
    handler: (request, reply) => reply.redirect(app.oauth.begin(reply, safeNext(request.query.next)), 302)
  })

  app.get('/auth/callback', {
    schema: schemas.completeGithub,
    config: { ...signingIn, slo: 'upstream', audit: { type: 'auth', action: 'login', resource: 'session' } },
    handler: async (request, reply) => {
      const { identity, returnTo } = await app.oauth.complete(request, reply)
      await signIn(app, request, reply, 'github', tx => signInWithGithub(tx, identity, defaultPlan))
      return reply.redirect(safeNext(returnTo), 303)
    }
  })

  app.post('/logout', {
    schema: schemas.signOut,
    config: { ...signingIn, slo: 'write', csrf: true, audit: { type: 'auth', action: 'logout', resource: 'session' } },
    handler: async (request, reply) => {
      const caller = await app.auth.identify(request)
      const { id, cookie } = await app.db.transaction(async tx => {
        const ended = await app.session.end(tx, request)
        if (caller !== null && app.hasDecorator('audit'))
          await app.audit.record(tx, request, { ...request.routeOptions.config.audit!, resourceId: ended.id })
        return ended
      })
      if (id !== undefined) app.auth.forget(id)
      // Not "cookies": that would also sign users out of the apps on all subdomains.
      return reply.headers({ 'set-cookie': cookie, 'clear-site-data': LEFT_BEHIND }).redirect('/login', 303)
    }
  })

  done()
}

export default signInRoutes
