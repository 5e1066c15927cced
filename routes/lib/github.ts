import type { FastifyInstance } from 'fastify'
import type { Github } from '../../integrations/github/index.ts'
import { errors } from '../../plugins/lib/errors.ts'

/** @throws AppError when the server has no GitHub App */
export function githubOf(app: FastifyInstance): Github {
  if (!app.hasDecorator('github')) throw errors.notConfigured('The GitHub App')
  return app.github
}

/** The policy of an installation's audit event. */
export const installationAudit = (action: 'connect' | 'disconnect') =>
  ({ type: 'team', action, resource: 'installation' }) as const

interface Named {
  readonly id: string
  readonly installationId: number
  readonly accountLogin: string
}

/** The audit details of an installation. */
export const eventOfInstallation = ({ id, installationId, accountLogin }: Named) => ({
  resourceId: id,
  resourceName: accountLogin,
  details: { installationId, account: accountLogin }
})
