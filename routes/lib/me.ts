import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { errors } from '../../plugins/lib/errors.ts'
import type { NewToken } from '../../schemas/me.ts'
import { takeGuess } from '../../src/domain/accounts/guessing.ts'
import { findAccountOf, setPassword } from '../../src/domain/accounts/local-accounts.ts'
import { revokeSession, revokeSessions } from '../../src/domain/accounts/sessions.ts'
import { createToken, revokeToken } from '../../src/domain/accounts/tokens.ts'
import type { Db } from '../../src/domain/base/db.ts'
import { parseExpiry } from '../../src/domain/base/instant.ts'
import { requestErasure } from '../../src/domain/privacy/leaving.ts'
import type { PasswordRoutesOptions } from '../auth/passwords.ts'
import { callerOf, teamOf } from './access.ts'
import type { Changed } from './change.ts'

/** How the audit log describes a change of the caller's own account. */
export const accountAudit = {
  createToken: { type: 'auth', action: 'create', resource: 'token' },
  revokeToken: { type: 'auth', action: 'revoke', resource: 'token' },
  revokeSession: { type: 'auth', action: 'revoke', resource: 'session' },
  changePassword: { type: 'auth', action: 'change', resource: 'password' },
  deleteAccount: { type: 'auth', action: 'delete', resource: 'user' }
} as const

/** Changes of the caller's own account, for the API and for pages. */
export function accountActions(app: FastifyInstance) {
  return {
    async createToken(tx: Db, request: FastifyRequest, { name, scopes, team, expiresAt }: NewToken) {
      const { userId, via, expiresAt: ownEnd } = callerOf(request)
      const teamId = team === undefined ? null : (await teamOf(app, tx, request, team)).id
      const end = parseExpiry(expiresAt, via === 'session' ? undefined : ownEnd)
      const values = { userId, name: name.trim(), scopes, teamId, expiresAt: end }
      const { token, ...row } = await createToken(tx, values)
      const audit = { resourceId: row.id, resourceName: row.name, details: row }
      return { status: 201, body: row, shownOnce: { token }, audit } satisfies Changed
    },

    async revokeToken(tx: Db, request: FastifyRequest, tokenId: string) {
      const { id, name, prefix } = await revokeToken(tx, callerOf(request).userId, tokenId)
      const audit = { resourceId: id, resourceName: name, details: { prefix } }
      return { status: 204, audit, committed: () => app.auth.forget(id) } satisfies Changed
    },

    async revokeSession(tx: Db, request: FastifyRequest, id: string) {
      await revokeSession(tx, callerOf(request).userId, id)
      return { status: 204, audit: { resourceId: id }, committed: () => app.auth.forget(id) } satisfies Changed
    },

    /** @param keepsCurrent whether the calling session stays */
    async revokeSessions(tx: Db, request: FastifyRequest, keepsCurrent: boolean) {
      const { userId, credentialId } = callerOf(request)
      const revoked = await revokeSessions(tx, userId, keepsCurrent ? credentialId : undefined)
      const committed = () => app.auth.forget(userId)
      return { status: 200, body: { revoked }, audit: { details: { count: revoked } }, committed } satisfies Changed
    },

    async deleteAccount(tx: Db, request: FastifyRequest) {
      const { userId } = callerOf(request)
      const { code, eraseAfter } = await requestErasure(tx, userId)
      return {
        status: 202,
        body: { eraseAfter },
        shownOnce: { code },
        audit: { resourceId: userId, details: { eraseAfter } },
        committed: () => app.auth.forget(userId)
      } satisfies Changed
    }
  }
}

/** Changes the caller's password, in two steps: the slow hashing comes before the transaction. */
export function passwordChange(app: FastifyInstance, { passwords }: PasswordRoutesOptions) {
  return async (
    request: FastifyRequest,
    reply: FastifyReply,
    { currentPassword, newPassword }: { currentPassword: string; newPassword: string }
  ) => {
    if (passwords === null) throw errors.notConfigured('Signing in with a password')
    const { userId, via } = callerOf(request)
    if (via !== 'session') throw errors.forbidden('A password can only be changed in a browser session')
    const account = await findAccountOf(app.db, userId)
    if (account === undefined) throw errors.conflict('Your account has no password')

    await passwords.check('newPassword', newPassword, [account.login])
    const address = request.clientIp?.bucket ?? request.ip
    const right = await takeGuess(app.db, account.login, address)
    if (!(await passwords.verify(currentPassword, account.passwordHash, address)))
      throw errors.validation('currentPassword', 'is wrong')
    await right()
    const hash = await passwords.hash(newPassword, address)

    return async (tx: Db) => {
      await setPassword(tx, userId, hash)
      const { cookie } = await app.session.begin(tx, request, account.user, 'password')
      const committed = () => {
        app.auth.forget(userId)
        reply.header('set-cookie', cookie)
      }
      return {
        status: 204,
        audit: { resourceId: userId, resourceName: account.login },
        committed
      } satisfies Changed
    }
  }
}
