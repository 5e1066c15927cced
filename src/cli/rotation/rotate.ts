import { readFile } from 'node:fs/promises'
import { type Config, type SecretFeed, SourceError } from '../../config/index.ts'
import type { Db } from '../../domain/base/db.ts'
import { noteSecrets, readSecretAges } from '../../domain/secrets/ledger.ts'
import { countSealed } from '../../domain/secrets/rotation.ts'
import { secretsOf } from '../../wiring/secrets.ts'
import { commandLineActor } from '../actor.ts'
import { auditLogFor, withKeys } from '../audit-log.ts'
import { CommandError, type Input, UsageError } from '../command.ts'
import { classNames, classOf, isIssuedElsewhere, withNewSecret, withoutOldSecrets } from './classes.ts'
import { rotateDatabase } from './database.ts'
import { waitUntilHeld } from './held.ts'
import type { Rotated, Rotating } from './port.ts'
import { rotateRedis } from './redis.ts'

export interface RotationInput extends Pick<Input, 'config' | 'note' | 'settings'> {
  readonly valueFile: string | undefined
  readonly finish: boolean
  readonly wait: number
}

/**
 * Rotates one class of secrets while servers run: stores the new one, and retires the old one when all instances have
 * the new one.
 */
export async function rotateClass(given: string, input: RotationInput, db: Db): Promise<Rotated> {
  const found = classOf(given)
  if (found === undefined) throw new UsageError(`unknown class "${given}"; the classes are ${classNames().join(', ')}`)
  const { name, variable } = found
  const { config: first, feed } = await input.settings()
  const config = await withKeys({ config: async () => first })
  const before = (await feed.readSecrets()).get(variable)
  if (before === undefined) throw new CommandError(`${variable}: is not set, so there is nothing to rotate`)

  const rotating: Rotating = { db, config, note: input.note, bringIn: value => bringIn(value) }
  if (variable === 'DATABASE_URL') return rotateDatabase(rotating, before, input.finish)
  if (variable === 'REDIS_URL') return rotateRedis(rotating, before, input.finish)
  if (input.finish) {
    const reason = await whyStillNeeded(db, config, variable)
    if (reason !== undefined) throw new CommandError(`${variable}: ${reason}`)
    return bringIn(withoutOldSecrets(before))
  }
  return bringIn(withNewSecret(variable, before, await issued(input, variable)))

  async function bringIn(value: string): Promise<Rotated> {
    const next = await configWith(feed, config, variable, value)
    // Recorded before it can be in use, with the actor.
    const log = await auditLogFor({ config: async () => config })
    await noteSecrets(db, log, config.keys.encryption!, secretsOf(next), commandLineActor())
    if (!(await stores(feed, variable, value, input.note)))
      return { class: name, variable, set: value, held: 0, running: 0 }
    const count = await waitUntilHeld(db, next, variable, input.wait)
    if (count.held < count.running)
      throw new CommandError(
        `${variable}: ${count.held} of ${count.running} running instances have it; the old value stays valid`
      )
    return { class: name, variable, ...count }
  }
}

/** The settings that servers will have. @throws ConfigError if they would refuse the value */
async function configWith(feed: SecretFeed, config: Config, variable: string, value: string): Promise<Config> {
  const values = new Map(await feed.readSecrets()).set(variable, value)
  const next = feed.configWith(values)
  const { session, encryption, signing } = next.keys
  const own = config.keys
  const keys = {
    session: session ?? own.session,
    encryption: encryption ?? own.encryption,
    signing: signing ?? own.signing
  }
  return { ...next, keys }
}

async function stores(feed: SecretFeed, variable: string, value: string, note: (text: string) => void) {
  try {
    if (feed.source.store === undefined) throw new SourceError(`${feed.source.name}: is read-only from here`)
    await feed.source.store(variable, value)
    return true
  } catch (error) {
    if (!(error instanceof SourceError)) throw error
    note(`${error.message}; set it there yourself`)
    return false
  }
}

/** Days for which data made with an older key may still be presented. */
const NEEDED: Readonly<Record<string, number>> = { SESSION_KEYS: 30, SIGNING_KEYS: 1 }

/** Why the older keys of a ring cannot be removed yet. */
async function whyStillNeeded(db: Db, config: Config, variable: string): Promise<string | undefined> {
  const ring = config.keys.encryption!
  if (variable === 'ENCRYPTION_KEYS') {
    const old = (await countSealed(db, ring)).filter(({ key }) => key === 'old')
    return old.length === 0 ? undefined : 'values are still encrypted with older keys; run first: secrets rotate'
  }
  const days = NEEDED[variable]
  if (days === undefined) return undefined
  const ages = await readSecretAges(db, ring, secretsOf(config))
  const age = ages.find(({ name }) => name === variable)?.ageDays ?? 0
  return age >= days
    ? undefined
    : `the newest key has been in use for ${age} days; older keys are needed until ${days} days`
}

async function issued({ valueFile }: RotationInput, variable: string): Promise<string | undefined> {
  if (valueFile === undefined) {
    if (!isIssuedElsewhere(variable)) return undefined
    throw new UsageError(`${variable} is issued elsewhere: create a new one there, and pass it with --value-file`)
  }
  try {
    return (await readFile(valueFile === '-' ? '/dev/stdin' : valueFile, 'utf8')).trim()
  } catch (error) {
    throw new CommandError(`${valueFile}: cannot be read (${(error as NodeJS.ErrnoException).code})`)
  }
}
