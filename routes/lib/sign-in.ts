import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { SignInMethod } from '../../drizzle/schema.ts'
import type { AuditEvent } from '../../plugins/audit/index.ts'
import type { SignedIn } from '../../src/domain/accounts/sign-in.ts'
import type { Db } from '../../src/domain/base/db.ts'

/** Sign-in stays open during maintenance, because operators need it. */
export const signingIn = {
  access: 'public',
  rateClass: 'auth',
  maintenance: false,
  cors: false,
  page: true,
  slo: 'detail'
} as const

/**
 * Begins a session for the user that `find` returns. The changes of `find`, the session and the audit rows are one
 * transaction.
 */
export async function signIn(
  app: FastifyInstance,
  request: FastifyRequest,
  reply: FastifyReply,
  method: SignInMethod,
  find: (tx: Db) => Promise<SignedIn>
): Promise<void> {
  const cookie = await app.db.transaction(async tx => {
    const { user, newTeam } = await find(tx)
    const session = await app.session.begin(tx, request, user, method)
    const { id: userId, ...who } = user
    request.principal = { userId, ...who, via: 'session', credentialId: session.id, scopes: ['admin'] }

    const login = { type: 'auth', action: 'login', resource: 'session', resourceId: session.id } as const
    for (const event of [...eventsOf(user, newTeam, method), { ...login, details: { method } }])
      if (app.hasDecorator('audit')) await app.audit.record(tx, request, event)
    return session.cookie
  })
  reply.header('set-cookie', cookie)
}

function eventsOf(user: SignedIn['user'], team: SignedIn['newTeam'], method: string): AuditEvent[] {
  if (team === null) return []
  const { id, username } = user
  return [
    { type: 'auth', action: 'create', resource: 'user', resourceId: id, resourceName: username, details: { method } },
    {
      type: 'team',
      action: 'create',
      resource: 'team',
      teamId: team.id,
      resourceId: team.id,
      resourceName: team.name,
      details: { slug: team.slug }
    }
  ]
}
