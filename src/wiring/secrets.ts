import type { Config } from '../config/index.ts'
import type { Keyring } from '../config/keyring.ts'
import type { ServerSecret } from '../domain/secrets/ledger.ts'

/** Every configured secret, and its maximum age in days. */
export function secretsOf(config: Config): ServerSecret[] {
  const { keys, database, redisUrl, github, githubApp, githubWebhookSecrets, fly, registry, metricsTokens } = config
  const isOwnRegistryToken = registry.token !== null && registry.token !== fly?.token
  return [
    { name: 'DATABASE_URL', schedule: 90, value: passwordOf(database.url) },
    { name: 'REDIS_URL', schedule: 90, value: passwordOf(redisUrl) },
    { name: 'SESSION_KEYS', schedule: 90, ...ringOf(keys.session) },
    { name: 'SIGNING_KEYS', schedule: 90, ...ringOf(keys.signing) },
    { name: 'ENCRYPTION_KEYS', schedule: 365, ...ringOf(keys.encryption) },
    { name: 'METRICS_TOKEN', schedule: 90, value: metricsTokens[0] ?? null },
    { name: 'GITHUB_CLIENT_SECRET', schedule: 90, value: github?.clientSecret ?? null },
    { name: 'GITHUB_APP_PRIVATE_KEY', schedule: 180, value: githubApp?.privateKey ?? null },
    { name: 'GITHUB_WEBHOOK_SECRET', schedule: 90, value: githubWebhookSecrets[0] ?? null },
    { name: 'FLY_API_TOKEN', schedule: 90, value: fly?.token ?? null },
    { name: 'REGISTRY_TOKEN', schedule: 90, value: isOwnRegistryToken ? registry.token : null }
  ]
}

function ringOf(ring: Keyring | null): Pick<ServerSecret, 'value' | 'keyIds'> {
  return { value: ring?.current.key.toString('base64') ?? null, keyIds: [...(ring?.keys.keys() ?? [])] }
}

/** The embedded database's password is never given out, so it is not tracked here. */
function passwordOf(url: string | null): string | null {
  return (url && URL.parse(url)?.password) || null
}
