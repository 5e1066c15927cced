import type { FastifyInstance } from 'fastify'
import type { Github } from '../../integrations/github/index.ts'
import { errors } from '../../plugins/lib/errors.ts'

/** @throws AppError when the server has no GitHub App */
export function githubOf(app: FastifyInstance): Github {
  if (!app.hasDecorator('github')) throw errors.notConfigured('The GitHub App')
  return app.github
}
