import type { FastifyPluginAsync } from 'fastify'
import type { Plan } from '../drizzle/schema.ts'
import type { DeployedApp } from '../integrations/deployer/port.ts'
import type { Passwords } from '../src/domain/accounts/passwords.ts'
import type { SecretBox } from '../src/domain/base/secret-box.ts'
import type { DeploymentLedger } from '../src/domain/deployments/deployments.ts'
import backups from './admin/backups.ts'
import errorRoutes from './admin/errors.ts'
import incidents from './admin/incidents.ts'
import jobs from './admin/jobs.ts'
import operations from './admin/operations.ts'
import admin from './admin/platform.ts'
import accessTokens from './api/access-tokens.ts'
import apps from './api/apps.ts'
import { platformAudit, teamAudit } from './api/audit.ts'
import deployments from './api/deployments.ts'
import deviceLogins from './api/device-login.ts'
import envVars from './api/env-vars.ts'
import events from './api/events.ts'
import installations, { connecting } from './api/installations.ts'
import invitations from './api/invitations.ts'
import { leaving, returning } from './api/leaving.ts'
import { appLogs, liveLogs } from './api/logs.ts'
import me from './api/me.ts'
import members from './api/members.ts'
import myPassword from './api/my-password.ts'
import platform from './api/platform.ts'
import teams from './api/teams.ts'
import first, { type FirstSignInOptions } from './auth/first.ts'
import passwordRoutes from './auth/passwords.ts'
import signIn from './auth/sign-in.ts'
import { takeForms } from './lib/forms.ts'
import { scopeFor } from './lib/policy.ts'
import adminPages from './pages/admin.ts'
import oneApp from './pages/app.ts'
import appSettings from './pages/app-settings.ts'
import appPages from './pages/apps.ts'
import billing from './pages/billing.ts'
import dashboard from './pages/dashboard.ts'
import deviceLoginPages from './pages/device-login.ts'
import home from './pages/home.ts'
import invitationPages from './pages/invitations.ts'
import legal from './pages/legal.ts'
import settings from './pages/settings.ts'
import site from './pages/site.ts'
import statusRoutes from './pages/status.ts'
import teamPages from './pages/teams.ts'

export interface RoutesOptions {
  /** The URL under which clients reach the server. */
  baseUrl?: URL
  /** Where to report vulnerabilities; by default the mailbox `security` of the host. */
  securityContact?: string | null
  /** Seals the env vars of apps. */
  secretBox: SecretBox
  /** Null: password sign-in is disabled. */
  passwords: Passwords | null
  /** The plan of a new team; `pro` by default. */
  defaultPlan?: Plan
  /** Whether apps may use git repositories on this machine; false by default. */
  allowLocalGit?: boolean
  /** The URL of an app; by default apps have none. */
  urlOf?: (app: DeployedApp) => string | null
  /** Absent or null: this server cannot deploy. */
  ledger?: DeploymentLedger | null
  /** Whether images built elsewhere can be deployed; false by default. */
  takesImages?: boolean
  /** Whether images are built here, also from uploaded sources; false by default. */
  takesSource?: boolean
  /** The registry that stores the images of all apps. */
  registry?: string
  /** Signs the first operator in with a link, while there is no other way; null (the default) disables it. */
  firstSignIn?: FirstSignInOptions | null
  /** The version shown to operators. */
  version?: string
  /** Whether `/design` shows the parts of pages to their developers; false by default. */
  showsDesign?: boolean
}

const API = '/api/v1'
/** The plugins that pages need. If one is missing, there are no pages, and only callers with tokens are accepted. */
const PAGES = ['session', 'csrf', 'oauth', 'assets'] as const

/** All routes except those that plugins add, in scopes by allowed callers. */
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
    takesSource = false,
    registry = '',
    firstSignIn = null,
    showsDesign = false,
    version = 'unknown'
  } = options
  const knowsUsers = app.hasDecorator('db') && app.hasRequestDecorator('principal')

  const hasPages = PAGES.every(plugin => app.hasDecorator(plugin)) && knowsUsers

  const anyone = scopeFor(['public'], async scope => {
    await scope.register(platform)
    if (knowsUsers) await scope.register(returning)
    if (hasPages) await scope.register(deviceLogins, { baseUrl })
  })

  const visitors = scopeFor(['public'], async scope => {
    takeForms(scope)
    await scope.register(signIn, { hasPasswords: passwords !== null, defaultPlan })
    await scope.register(passwordRoutes, { passwords })
    if (firstSignIn !== null) await scope.register(first, firstSignIn)
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
    await scope.register(deployments, { ledger, takesImages, takesSource, registry })
    await scope.register(appLogs)
    if (app.hasDecorator('eventStreams')) {
      await scope.register(liveLogs)
      await scope.register(events)
    }
  })

  const people = scopeFor(['authenticated', 'member', 'admin', 'owner'], async scope => {
    takeForms(scope)
    await scope.register(dashboard, { urlOf })
    await scope.register(settings, { passwords })
    await scope.register(deviceLoginPages)
    await scope.register(billing)
    await scope.register(appPages, { allowLocalGit, urlOf, ledger, takesImages, takesSource, registry })
    await scope.register(oneApp, { allowLocalGit, urlOf, ledger, takesImages, takesSource, registry })
    await scope.register(teamPages, { defaultPlan, baseUrl })
    await scope.register(invitationPages, { baseUrl })
    await scope.register(appSettings, { secretBox, allowLocalGit, urlOf, ledger, takesImages, takesSource, registry })
  })

  const operatorPages = scopeFor(['operator'], async scope => {
    takeForms(scope)
    await scope.register(adminPages, { version })
  })

  const managers = scopeFor(['admin'], async scope => void scope.register(connecting))

  const operators = scopeFor(['operator'], async scope => {
    await scope.register(admin)
    await scope.register(errorRoutes)
    await scope.register(platformAudit)
    await scope.register(incidents)
    if (app.hasDecorator('operations')) await scope.register(operations)
    if (app.hasDecorator('jobs')) await scope.register(jobs)
    if (app.hasDecorator('jobs') && app.hasDecorator('backups')) await scope.register(backups)
  })

  const contact = securityContact ?? `mailto:security@${baseUrl.hostname}`
  await app.register(
    scopeFor(['public'], async scope => {
      await scope.register(site, { baseUrl, securityContact: contact })
      if (app.hasDecorator('status')) await scope.register(statusRoutes)
    })
  )
  if (app.hasDecorator('assets')) {
    const canSignIn = hasPages && (passwords !== null || app.oauth.isConfigured)
    await app.register(
      scopeFor(['public'], async scope => {
        await scope.register(home, { canSignIn, showsDesign })
        await scope.register(legal)
      })
    )
  }
  await app.register(anyone, { prefix: API })
  // Without a database and authentication the server cannot identify callers, so it has no other routes.
  if (!knowsUsers) return
  await app.register(users, { prefix: API })
  await app.register(managers)
  await app.register(operators, { prefix: '/admin' })
  if (!hasPages) return
  await app.register(visitors)
  await app.register(people)
  await app.register(operatorPages)
}

export default routes
