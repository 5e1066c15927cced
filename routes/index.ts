import type { FastifyPluginAsync } from 'fastify'
import type { Passwords } from '../src/domain/passwords.ts'
import type { SecretBox } from '../src/domain/secret-box.ts'
import accessTokens from './access-tokens.ts'
import admin from './admin.ts'
import apps from './apps.ts'
import { platformAudit, teamAudit } from './audit.ts'
import envVars from './env-vars.ts'
import invitations from './invitations.ts'
import { leaving, returning } from './leaving.ts'
import { takeForms } from './lib/forms.ts'
import { scopeFor } from './lib/policy.ts'
import { appLogs, liveLogs } from './logs.ts'
import me from './me.ts'
import members from './members.ts'
import myPassword from './my-password.ts'
import passwordRoutes from './passwords.ts'
import platform from './platform.ts'
import signIn from './sign-in.ts'
import teams from './teams.ts'

export interface RoutesOptions {
  /** Seals the env vars of apps. */
  secretBox: SecretBox
  /** Null: nobody signs in with a password. */
  passwords: Passwords | null
}

const API = '/api/v1'
/** What people sign in by. Without one of these, a server has callers with tokens only. */
const SIGNING_IN = ['session', 'csrf', 'oauth'] as const

/** Everything that is not brought by a plugin, in scopes by who may enter. */
const routes: FastifyPluginAsync<RoutesOptions> = async (app, { secretBox, passwords }) => {
  const knowsUsers = app.hasDecorator('db') && app.hasRequestDecorator('principal')

  const anyone = scopeFor(['public'], async scope => {
    await scope.register(platform)
    if (knowsUsers) await scope.register(returning)
  })

  const visitors = scopeFor(['public'], async scope => {
    takeForms(scope)
    await scope.register(signIn, { hasPasswords: passwords !== null })
    await scope.register(passwordRoutes, { passwords })
  })

  const users = scopeFor(['authenticated', 'member', 'admin', 'owner'], async scope => {
    await scope.register(me)
    if (app.hasDecorator('session')) await scope.register(myPassword, { passwords })
    if (app.hasDecorator('accessTokens')) await scope.register(accessTokens)
    await scope.register(leaving)
    await scope.register(teams)
    await scope.register(members)
    await scope.register(invitations)
    await scope.register(teamAudit)
    await scope.register(apps)
    await scope.register(envVars, { secretBox })
    await scope.register(appLogs)
    if (app.hasDecorator('eventStreams')) await scope.register(liveLogs)
  })

  const operators = scopeFor(['operator'], async scope => {
    await scope.register(admin)
    await scope.register(platformAudit)
  })

  await app.register(anyone, { prefix: API })
  // A server from which one of these was taken out knows nobody, so that nothing else may be open.
  if (!knowsUsers) return
  await app.register(users, { prefix: API })
  await app.register(operators, { prefix: '/admin' })
  if (SIGNING_IN.every(plugin => app.hasDecorator(plugin))) await app.register(visitors)
}

export default routes
