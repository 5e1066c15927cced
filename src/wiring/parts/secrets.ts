import type { FastifyInstance } from 'fastify'
import { type Config, SECRETS } from '../../config/index.ts'
import { checkKeyring } from '../../domain/secrets/keyring-check.ts'
import { noteSecrets, readSecretAges } from '../../domain/secrets/ledger.ts'
import { has } from '../../kernel/has.ts'
import type { Part } from '../../kernel/part.ts'
import { auditLogOf } from '../audit-log.ts'
import { ringsOf, secretsOf } from '../secrets.ts'
import { HOUR, SECOND } from './intervals.ts'

/** Seconds in a day. */
const DAY = 86_400

const secrets: Part = {
  name: 'secrets',
  startSteps: (config, app) => [
    {
      name: 'keyrings',
      async run() {
        const problems = await checkKeyrings(config, app)
        if (problems.length > 0 && config.production) throw new Error(problems.join('\n'))
        // Before anything is sealed or signed: other instances may not have the newest keys yet.
        if (has(app, 'secretHolders')) await app.secretHolders.exchange()
      }
    },
    { name: 'secrets', run: () => note(config, app, 'start') }
  ],
  chores(config, app) {
    let noted = versionOf(config)
    return [
      {
        name: 'keyrings',
        every: HOUR,
        async run() {
          const problems = await checkKeyrings(config, app)
          const isRefused = config.production && problems.length > 0
          if (has(app, 'secretHolders')) app.secretHolders.isRefused = isRefused
          if (isRefused) throw new Error(problems.join('\n'))
        }
      },
      {
        name: 'secret-holders',
        every: 5 * SECOND,
        async run() {
          if (has(app, 'secretHolders')) await app.secretHolders.exchange()
          const version = versionOf(config)
          if (version === noted) return
          await note(config, app, 'secret source')
          noted = version
        }
      }
    ]
  },
  gauges: (config, { db }) => [
    {
      name: 'rhone_secret_age_seconds',
      help: 'For how long each configured secret has been in use.',
      label: 'name',
      async read() {
        const now = new Date()
        const ages = await readSecretAges(db, config.keys.encryption!, secretsOf(config), now)
        return new Map(
          ages.flatMap(({ name, since }) => (since === null ? [] : [[name, (now.getTime() - since.getTime()) / 1_000]]))
        )
      }
    },
    {
      name: 'rhone_secret_schedule_seconds',
      help: 'The age at which each secret is due for rotation.',
      label: 'name',
      read: async () => new Map([...SECRETS].map(([name, { days }]) => [name, days * DAY]))
    }
  ]
}

function note(config: Config, app: FastifyInstance, actor: string): Promise<void> {
  return noteSecrets(app.db, auditLogOf(config), config.keys.encryption!, secretsOf(config), actor)
}

/** Changes whenever the secrets in use change. */
function versionOf(config: Config): string {
  return JSON.stringify(secretsOf(config).map(({ value }) => value))
}

/** Instances with different keys cannot open what the others seal and sign. */
async function checkKeyrings(config: Config, app: FastifyInstance): Promise<string[]> {
  const problems: string[] = []
  for (const [name, ring] of Object.entries(ringsOf(config))) {
    const problem = await checkKeyring(app.db, name, ring)
    if (problem !== undefined) problems.push(problem)
  }
  for (const problem of problems) app.log.error({ problem }, 'the keys differ from those of other instances')
  return problems
}

export default secrets
