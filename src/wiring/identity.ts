import type { FastifyInstance, FastifyRequest } from 'fastify'
import { githubProvider } from '../../integrations/github/sign-in.ts'
import type { AccessTokensDeps, AccessTokensOptions } from '../../plugins/access-tokens/index.ts'
import type { AuthDeps, AuthOptions } from '../../plugins/auth/index.ts'
import type { Config } from '../config/index.ts'
import { sessionStore } from '../domain/accounts/sessions.ts'
import { spentSignInStore } from '../domain/accounts/sign-in.ts'
import { AUTH_CHANNEL, findTokenById, tokenVerifier, touchTokens } from '../domain/accounts/tokens.ts'
import { has, registryOf } from '../kernel/has.ts'
import { auditLogOf } from './audit-log.ts'
import { isTenant } from './tenants.ts'

/* Options of the plugins that authenticate callers. */

export function session(config: Config, app: FastifyInstance) {
  return {
    secure: config.baseUrl.protocol === 'https:',
    accepts: (request: FastifyRequest) => !isTenant(config, request),
    ...(has(app, 'db') && { store: sessionStore(() => app.db) })
  }
}

export function accessTokens(
  { baseUrl, keys }: Config,
  app: FastifyInstance
): AccessTokensDeps & Partial<AccessTokensOptions> {
  return {
    issuer: baseUrl.origin,
    ...(keys.signing && { keys: keys.signing }),
    ...(has(app, 'db') && {
      check: id => findTokenById(app.db, id),
      changes: (onChange, onLive, onGap, onAlive) => app.postgres.listen(AUTH_CHANNEL, onChange, onLive, onGap, onAlive)
    })
  }
}

export function auth(config: Config, app: FastifyInstance): AuthDeps & Partial<AuthOptions> {
  return {
    ...registryOf(app),
    requireAccess: true,
    signInPage: has(app, 'session') ? '/login' : '',
    sources: [...(has(app, 'session') ? [app.session] : []), ...(has(app, 'accessTokens') ? [app.accessTokens] : [])],
    ...(has(app, 'db') && {
      verifier: tokenVerifier(() => app.db),
      touch: uses => touchTokens(app.db, auditLogOf(config), uses),
      changes: (onChange, onGap) => app.postgres.listen(AUTH_CHANNEL, onChange, onGap)
    })
  }
}

export function csrf({ baseUrl, production, keys }: Config) {
  return {
    // In development, a browser may use another name of this machine.
    origin: production ? baseUrl.origin : '',
    secure: baseUrl.protocol === 'https:',
    ...(keys.session && { keys: keys.session })
  }
}

export function oauth(config: Config, app: FastifyInstance) {
  const { baseUrl, github, keys } = config
  const clientSecret = () => config.github?.clientSecret ?? ''
  return {
    redirectUri: `${baseUrl.origin}/auth/callback`,
    ...(github && { provider: githubProvider({ ...github, clientSecret, ...registryOf(app), signInPage: '/login' }) }),
    ...(keys.session && { keys: keys.session }),
    ...(has(app, 'db') && { spent: spentSignInStore(() => app.db) })
  }
}

export function idempotency({ keys }: Config) {
  return { ...(keys.session && { keys: keys.session }) }
}
