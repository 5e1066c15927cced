import type { FastifyInstance } from 'fastify'
import type { Config } from '../../config/index.ts'
import { checkKeyring } from '../../domain/secrets/keyring-check.ts'
import { noteSecrets } from '../../domain/secrets/ledger.ts'
import type { Part } from '../../kernel/part.ts'
import { auditLogOf } from '../audit-log.ts'
import { secretsOf } from '../secrets.ts'
import { HOUR } from './intervals.ts'

const secrets: Part = {
  name: 'secrets',
  startSteps: (config, app) => [
    {
      name: 'keyrings',
      async run() {
        const problems = await checkKeyrings(config, app)
        if (problems.length > 0 && config.production) throw new Error(problems.join('\n'))
      }
    },
    {
      name: 'secrets',
      run: () => noteSecrets(app.db, auditLogOf(config), config.keys.encryption!, secretsOf(config))
    }
  ],
  chores: (config, app) => [{ name: 'keyrings', every: HOUR, run: async () => void (await checkKeyrings(config, app)) }]
}

/** Instances with different keys cannot open what the others seal and sign. */
async function checkKeyrings({ keys }: Config, app: FastifyInstance): Promise<string[]> {
  const problems: string[] = []
  for (const [name, ring] of [
    ['SESSION_KEYS', keys.session],
    ['ENCRYPTION_KEYS', keys.encryption],
    ['SIGNING_KEYS', keys.signing]
  ] as const) {
    const problem = await checkKeyring(app.db, name, ring!)
    if (problem !== undefined) problems.push(problem)
  }
  for (const problem of problems) app.log.error({ problem }, 'the keys differ from those of other instances')
  return problems
}

export default secrets
