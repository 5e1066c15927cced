import type { Config } from './index.ts'
import type { Keyring, Keyrings } from './keyring.ts'

/** The settings that follow the secrets; all others keep their initial values. */
const FOLLOWING = [
  'secrets',
  'redisUrl',
  'metricsTokens',
  'github',
  'githubApp',
  'githubWebhookSecrets',
  'fly',
  'registry'
] as const satisfies (keyof Config)[]

/**
 * A keyring whose keys may change while it is in use. New keys open and verify at once; {@link promote} decides which
 * key seals and signs, since other instances may not have a new key yet.
 */
export class LiveKeyring implements Keyring {
  #keys: ReadonlyMap<string, Buffer>
  #current: Keyring['current']

  constructor({ keys, current }: Keyring) {
    this.#keys = keys
    this.#current = current
  }

  get current(): Keyring['current'] {
    return this.#current
  }

  /** Newest first. Replaced by another Map on each change. */
  get keys(): ReadonlyMap<string, Buffer> {
    return this.#keys
  }

  /** @returns what is wrong with the new keys: the current one is missing, or its id belongs to another key */
  problemWith({ keys }: Keyring): string | undefined {
    const { id, key } = this.#current
    const theirs = keys.get(id)
    if (theirs === undefined) return `has no key "${id}", which is in use; keep it behind the new one`
    return theirs.equals(key) ? undefined : `has a different key for the id "${id}", which is in use`
  }

  replace({ keys }: Keyring): void {
    this.#keys = keys
    const { id } = this.#current
    this.#current = { id, key: keys.get(id)! }
  }

  /** Seals and signs with the newest key that all instances have; keeps the current one if they share none. */
  promote(isHeldByAll: (id: string, key: Buffer) => boolean): void {
    const shared = [...this.#keys].find(([id, key]) => isHeldByAll(id, key))
    if (shared !== undefined) this.#current = { id: shared[0], key: shared[1] }
  }
}

/** Settings whose secrets can change while the server runs; each property always has its latest value. */
export interface LiveConfig {
  readonly config: Config
  /** The keyrings by variable; none without keys. */
  rings(): Readonly<Record<string, LiveKeyring>>
  /** @returns what is wrong with adopting these settings, by variable */
  problemsWith(next: Config): string[]
  replace(next: Config): void
}

const VARIABLES = { session: 'SESSION_KEYS', encryption: 'ENCRYPTION_KEYS', signing: 'SIGNING_KEYS' } as const
const NAMES = Object.keys(VARIABLES) as (keyof Keyrings)[]

/**
 * @param first complete: with the keys and the database URL that the process itself has added. Values missing from
 * later settings stay as they are
 */
export function liveConfig(first: Config): LiveConfig {
  let current = first
  const keyrings = liveKeyrings(first.keys)
  const config = {} as Config
  for (const name of Object.keys(first) as (keyof Config)[])
    Object.defineProperty(config, name, { enumerable: true, get: () => current[name] })
  current = keyrings === null ? first : { ...first, keys: keyrings }

  return {
    config: Object.freeze(config),
    rings: () => Object.fromEntries(keyrings === null ? [] : NAMES.map(name => [VARIABLES[name], keyrings[name]])),
    problemsWith(next) {
      if (keyrings === null) return []
      return NAMES.flatMap(name => {
        const ring = next.keys[name]
        const problem = ring === null ? undefined : keyrings[name].problemWith(ring)
        return problem === undefined ? [] : [`${VARIABLES[name]}: ${problem}`]
      })
    },
    replace(next) {
      const { url, directUrl, replicaUrl } = next.database
      const database = { ...current.database, ...(url !== null && { url, directUrl, replicaUrl }) }
      current = { ...current, ...Object.fromEntries(FOLLOWING.map(name => [name, next[name]])), database }
      if (keyrings === null) return
      for (const name of NAMES) {
        const ring = next.keys[name]
        if (ring !== null) keyrings[name].replace(ring)
      }
    }
  }
}

/** Null unless all three exist: some commands need none. */
function liveKeyrings({ session, encryption, signing }: Config['keys']) {
  if (session === null || encryption === null || signing === null) return null
  return {
    session: new LiveKeyring(session),
    encryption: new LiveKeyring(encryption),
    signing: new LiveKeyring(signing)
  }
}
