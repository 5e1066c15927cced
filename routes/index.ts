import type { FastifyPluginAsync } from 'fastify'
import type { SecretBox } from '../src/domain/secret-box.ts'
import admin from './admin.ts'
import apps from './apps.ts'
import { platformAudit, teamAudit } from './audit.ts'
import envVars from './env-vars.ts'
import invitations from './invitations.ts'
import { leaving, returning } from './leaving.ts'
import { scopeFor } from './lib/policy.ts'
import me from './me.ts'
import members from './members.ts'
import platform from './platform.ts'
import teams from './teams.ts'

export interface RoutesOptions {
  /** Seals the env vars of apps. */
  secretBox: SecretBox
}

const API = '/api/v1'

/** Everything that is not brought by a plugin, in scopes by who may enter. */
const routes: FastifyPluginAsync<RoutesOptions> = async (app, { secretBox }) => {
  const knowsUsers = app.hasDecorator('db') && app.hasRequestDecorator('principal')

  const anyone = scopeFor(['public'], async scope => {
    await scope.register(platform)
    if (knowsUsers) await scope.register(returning)
  })

  const users = scopeFor(['authenticated', 'member', 'admin', 'owner'], async scope => {
    await scope.register(me)
    await scope.register(leaving)
    await scope.register(teams)
    await scope.register(members)
    await scope.register(invitations)
    await scope.register(teamAudit)
    await scope.register(apps)
    await scope.register(envVars, { secretBox })
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
}

export default routes
