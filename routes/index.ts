import type { FastifyPluginAsync } from 'fastify'
import type { DeployedApp } from '../plugins/deployer/port.ts'
import type { DeploymentLedger } from '../src/domain/deployments.ts'
import type { Passwords } from '../src/domain/passwords.ts'
import type { SecretBox } from '../src/domain/secret-box.ts'
import accessTokens from './access-tokens.ts'
import admin from './admin.ts'
import apps from './apps.ts'
import { platformAudit, teamAudit } from './audit.ts'
import deployments from './deployments.ts'
import envVars from './env-vars.ts'
import installations, { connecting } from './installations.ts'
import invitations from './invitations.ts'
import jobs from './jobs.ts'
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
    secretBox,
    passwords,
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
    await scope.register(platformAudit)
    if (app.hasDecorator('jobs')) await scope.register(jobs)
  })

  await app.register(anyone, { prefix: API })
  // A server from which one of these was taken out knows nobody, so that nothing else may be open.
  if (!knowsUsers) return
  await app.register(users, { prefix: API })
  await app.register(managers)
  await app.register(operators, { prefix: '/admin' })
  if (SIGNING_IN.every(plugin => app.hasDecorator(plugin))) await app.register(visitors)
}

export default routes
