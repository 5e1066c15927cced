import type { FastifyInstance } from 'fastify'
import type { SecretsDeps } from '../../plugins/secrets.ts'
import { type Config, ConfigError, SECRETS } from '../config/index.ts'
import { has } from '../kernel/has.ts'
import type { Ports } from './ports.ts'

/**
 * Adopts changed secrets: a whole set or nothing. First it tries everything that can be tried; then connections
 * authenticate again, keyrings open with the new keys, and everything else reads the new values on its next use.
 */
export function followed(config: Config, app: FastifyInstance, ports: NonNullable<Ports['secrets']>): SecretsDeps {
  const { feed, live } = ports
  const { source, readSecrets, configWith, local } = feed
  const isFollowed = ([name]: readonly [string, string]) => SECRETS.get(name)?.opensSource === false && !local.has(name)

  return {
    initial: new Map([...config.secrets].filter(isFollowed)),
    load: readSecrets,
    ...(source.watch && { watch: onChange => source.watch!(onChange) }),
    ...(source.close && { close: () => source.close!() }),

    async take(values, changed) {
      const next = configWith(values)
      const gone = changed.filter(name => config.secrets.has(name) && !values.has(name))
      const problems = [
        ...gone.map(name => `${name}: was removed; a restart turns off the features that need it`),
        ...live.problemsWith(next),
        ...(await problemsOfConnections(app, config, next))
      ]
      if (problems.length > 0) throw new ConfigError(problems)

      const later = changed.filter(name => SECRETS.get(name)?.needsRestart)
      if (later.length > 0) app.log.warn({ secrets: later }, 'these changes take effect at the next start')

      const { database: before, redisUrl: redisBefore } = config
      live.replace(next)
      const { database, redisUrl } = config
      if (has(app, 'postgres') && isOther(before, database))
        app.postgres.useCredentials(database.url!, database.directUrl!, database.replicaUrl ?? undefined)
      if (has(app, 'redisCredentials') && redisUrl !== redisBefore) await app.redisCredentials.use(redisUrl!)
      if (has(app, 'secretHolders') && app.startup?.done !== false) await app.secretHolders.exchange()
    },

    onRefused: changed => app.audit?.recordSystem(app.db, refusalOf(changed))
  }
}

const isOther = (before: Config['database'], now: Config['database']) =>
  before.url !== now.url || before.directUrl !== now.directUrl || before.replicaUrl !== now.replicaUrl

/** The changed credentials that do not work. */
async function problemsOfConnections(app: FastifyInstance, now: Config, next: Config): Promise<string[]> {
  const { database, redisUrl } = next
  const tries: [string, string | null, string | null, (url: string) => Promise<void>][] = [
    ['DATABASE_URL', now.database.url, database.url, url => app.postgres.tryCredentials(url)],
    ['DATABASE_DIRECT_URL', now.database.directUrl, database.directUrl, url => app.postgres.tryCredentials(url)],
    ['REDIS_URL', now.redisUrl, redisUrl, url => app.redisCredentials.check(url)]
  ]
  const problems: string[] = []
  for (const [name, before, after, attempt] of tries) {
    if (after === null || after === before || before === null) continue
    await attempt(after).catch((error: Error) => problems.push(`${name}: does not work (${error.message})`))
  }
  return problems
}

const LONGEST_NAME = 200

function refusalOf(changed: readonly string[]) {
  return {
    type: 'admin',
    action: 'refuse',
    outcome: 'failure',
    actor: 'secret source',
    resource: 'secret',
    resourceName: changed.join(', ').slice(0, LONGEST_NAME)
  } as const
}
