import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import type { FastifyRequest } from 'fastify'
import { AppError } from '../../plugins/lib/errors.ts'
import * as schemas from '../../schemas/sign-in.ts'
import { findFirstOperator } from '../../src/domain/accounts/operators.ts'
import { spentSignInStore } from '../../src/domain/accounts/sign-in.ts'
import { safeNext } from '../lib/next.ts'
import { signIn, signingIn } from '../lib/sign-in.ts'

export interface FirstSignInOptions {
  /** Identifies a code, and gives its expiry; null for an invalid or expired code. */
  readonly read: (code: string) => { readonly hash: Buffer; readonly expiresAt: Date } | null
}

const LOOPBACK = /^(?:127(?:\.\d{1,3}){3}|::1|::ffff:127(?:\.\d{1,3}){3})$/
/** A foreign page can make a browser send a host name of its own that resolves here; it would not be one of these. */
const OUR_NAMES: ReadonlySet<string> = new Set(['localhost', '127.0.0.1', '[::1]'])

const REFUSED = new AppError('NOT_FOUND', {
  message: 'This link no longer works',
  detail: 'It works once, within ten minutes, on the machine of the server. Restart the server for a new one',
  action: { href: '/', label: 'Back to the start page' }
})

/** Signs the first operator in with the link that the start has printed. */
const first: FastifyPluginCallbackTypebox<FirstSignInOptions> = (app, { read }, done) => {
  const spent = spentSignInStore(() => app.db)

  app.get('/auth/first', {
    schema: schemas.firstSignIn,
    config: { ...signingIn, audit: { type: 'auth', action: 'login', resource: 'session' } },
    handler: async (request, reply) => {
      const code = isOnThisMachine(request) ? read(request.query.code) : null
      if (code === null || !(await spent.spend(code.hash, code.expiresAt))) throw REFUSED
      await signIn(app, request, reply, 'link', async tx => ({ user: await findFirstOperator(tx), newTeam: null }))
      return reply.redirect(safeNext(undefined), 303)
    }
  })

  done()
}

function isOnThisMachine(request: FastifyRequest): boolean {
  const { remoteAddress = '' } = request.raw.socket
  const address = request.clientIp?.address ?? remoteAddress
  return LOOPBACK.test(remoteAddress) && LOOPBACK.test(address) && OUR_NAMES.has(request.hostname.toLowerCase())
}

export default first
