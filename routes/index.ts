import type { FastifyPluginAsync } from 'fastify'
import type { Plan } from '../drizzle/schema.ts'
import type { DeployedApp } from '../integrations/deployer/port.ts'
import type { Passwords } from '../src/domain/accounts/passwords.ts'
import type { SecretBox } from '../src/domain/base/secret-box.ts'
import type { DeploymentLedger } from '../src/domain/deployments/deployments.ts'
import errorRoutes from './admin/errors.ts'
import jobs from './admin/jobs.ts'
import admin from './admin/platform.ts'
import accessTokens from './api/access-tokens.ts'
import apps from './api/apps.ts'
import { platformAudit, teamAudit } from './api/audit.ts'
import deployments from './api/deployments.ts'
import envVars from './api/env-vars.ts'
import installations, { connecting } from './api/installations.ts'
import invitations from './api/invitations.ts'
import { leaving, returning } from './api/leaving.ts'
import { appLogs, liveLogs } from './api/logs.ts'
import me from './api/me.ts'
import members from './api/members.ts'
import myPassword from './api/my-password.ts'
import platform from './api/platform.ts'
import teams from './api/teams.ts'
import passwordRoutes from './auth/passwords.ts'
import signIn from './auth/sign-in.ts'
import { takeForms } from './lib/forms.ts'
import { scopeFor } from './lib/policy.ts'
import site from './pages/site.ts'

export interface RoutesOptions {
  /** Where clients reach the server. */
  baseUrl?: URL
  /** Where vulnerabilities are reported; the mailbox `security` of the host when absent. */
  securityContact?: string | null
  /** Seals the env vars of apps. */
  secretBox: SecretBox
  /** Null: nobody signs in with a password. */
  passwords: Passwords | null
  /** The plan of a new team; `pro` when absent. */
  defaultPlan?: Plan
  /** Whether apps may come from git repositories of this machine; they may not when absent. */
  allowLocalGit?: boolean
  /** Where an app is served; nowhere when absent. */
  urlOf?: (app: DeployedApp) => string | null
  /** Nothing can be deployed when absent or null. */
  ledger?: DeploymentLedger | null
  /** Whether images that others have built can be deployed; they cannot when absent. */
  takesImages?: boolean
  /** The registry that holds the images of all apps. */
  registry?: string
}

const API = '/api/v1'
/** What people sign in by. Without one of these, a server has callers with tokens only. */
const SIGNING_IN = ['session', 'csrf', 'oauth'] as const

/** Everything that is not brought by a plugin, in scopes by who may enter. */
const routes: FastifyPluginAsync<RoutesOptions> = async (app, options) => {
  const {
    baseUrl = new URL('http://localhost'),
    securityContact,
    secretBox,
    passwords,
    defaultPlan = 'pro',
    allowLocalGit = false,
    urlOf = () => null,
    ledger = null,
    takesImages = false,
    registry = ''
  } = options
  const knowsUsers = app.hasDecorator('db') && app.hasRequestDecorator('principal')

  const anyone = scopeFor(['public'], async scope => {
    await scope.register(platform)
    if (knowsUsers) await scope.register(returning)
  })

  const visitors = scopeFor(['public'], async scope => {
    takeForms(scope)
    await scope.register(signIn, { hasPasswords: passwords !== null, defaultPlan })
    await scope.register(passwordRoutes, { passwords })
  })

  const users = scopeFor(['authenticated', 'member', 'admin', 'owner'], async scope => {
    await scope.register(me)
    if (app.hasDecorator('session')) await scope.register(myPassword, { passwords })
    if (app.hasDecorator('accessTokens')) await scope.register(accessTokens)
    await scope.register(leaving)
    await scope.register(teams, { defaultPlan })
    await scope.register(members)
    await scope.register(invitations)
    await scope.register(teamAudit)
    await scope.register(installations)
    await scope.register(apps, { allowLocalGit, urlOf })
    await scope.register(envVars, { secretBox })
    await scope.register(deployments, { ledger, takesImages, registry })
    await scope.register(appLogs)
    if (app.hasDecorator('eventStreams')) await scope.register(liveLogs)
  })

  const managers = scopeFor(['admin'], async scope => void scope.register(connecting))

  const operators = scopeFor(['operator'], async scope => {
    await scope.register(admin)
    await scope.register(errorRoutes)
    await scope.register(platformAudit)
    if (app.hasDecorator('jobs')) await scope.register(jobs)
  })

  const contact = securityContact ?? `mailto:security@${baseUrl.hostname}`
  await app.register(
    scopeFor(['public'], async scope => void scope.register(site, { baseUrl, securityContact: contact }))
  )
  await app.register(anyone, { prefix: API })
  // A server from which one of these was taken out knows nobody, so that nothing else may be open.
  if (!knowsUsers) return
  await app.register(users, { prefix: API })
  await app.register(managers)
  await app.register(operators, { prefix: '/admin' })
  if (SIGNING_IN.every(plugin => app.hasDecorator(plugin))) await app.register(visitors)
}

export default routes
