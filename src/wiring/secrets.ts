import { type Config, passwordOf, SECRETS, type SecretTraits } from '../config/index.ts'
import type { Keyring } from '../config/keyring.ts'
import type { ServerSecret } from '../domain/secrets/ledger.ts'

/** Every secret that the schema knows, and its maximum age in days. */
export function secretsOf(config: Config): ServerSecret[] {
  const rings = ringsOf(config)
  // By whatever way, the role and password are those that are in use.
  const inUse: Readonly<Record<string, string | null>> = {
    DATABASE_DIRECT_URL: config.database.directUrl,
    DATABASE_REPLICA_URL: config.database.replicaUrl
  }
  return [...SECRETS].map(([name, { days: schedule, form }]) => {
    const ring = rings[name]
    if (ring !== undefined)
      return { name, schedule, value: ring.current.key.toString('base64'), keyIds: [...ring.keys.keys()] }
    const given = config.secrets.has(name) ? (inUse[name] ?? config.secrets.get(name)) : undefined
    return { name, schedule, value: given === undefined ? null : secretPart(form, given) }
  })
}

/** The keyrings by variable; those of a development server are not in its environment. */
export function ringsOf({ keys }: Config): Readonly<Record<string, Keyring>> {
  const { session, encryption, signing } = keys
  return {
    ...(session && { SESSION_KEYS: session }),
    ...(encryption && { ENCRYPTION_KEYS: encryption }),
    ...(signing && { SIGNING_KEYS: signing })
  }
}

/** A list is represented by its newest entry, a URL by its password: a new host is not a rotation. */
function secretPart(form: SecretTraits['form'], value: string): string | null {
  if (form === 'url') return passwordOf(value)
  return form === 'list' ? (value.split(',')[0]?.trim() ?? null) : value
}
