import type { FastifyInstance } from 'fastify'
import type { DeployedApp } from '../../integrations/deployer/port.ts'
import type { Config } from '../config/index.ts'
import { createPasswords } from '../domain/accounts/passwords.ts'
import { SecretBox } from '../domain/base/secret-box.ts'
import { has } from '../kernel/has.ts'
import { firstSignIn } from './first-sign-in.ts'

export function routes(config: Config, app: FastifyInstance) {
  const { baseUrl, securityContact, keys, localAccounts, defaultPlan, builder, deployer, registry } = config
  return {
    baseUrl,
    securityContact,
    secretBox: new SecretBox(keys.encryption!),
    passwords: localAccounts ? createPasswords([baseUrl.hostname]) : null,
    defaultPlan,
    allowLocalGit: deployer === 'local',
    urlOf: (found: DeployedApp) => (has(app, 'deployer') ? app.deployer.urlOf(found) : null),
    ledger: has(app, 'deploying') ? app.deploying.ledger : null,
    takesImages: builder !== 'local',
    takesSource: builder === 'local' || builder === 'buildkit',
    registry: registry.host,
    firstSignIn: firstSignIn(config),
    showsDesign: config.environment === 'development',
    version: config.version
  }
}
