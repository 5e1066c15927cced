import { setTimeout as delay } from 'node:timers/promises'
import type { Config } from '../../config/index.ts'
import type { Db } from '../../domain/base/db.ts'
import { countHolders, readHoldings } from '../../domain/secrets/holders.ts'
import { fingerprintOf } from '../../domain/secrets/keyring-check.ts'
import { fingerprintsOf } from '../../domain/secrets/ledger.ts'
import { ringsOf, secretsOf } from '../../wiring/secrets.ts'

const PAUSE = 500

export interface Holders {
  /** How many of the running instances hold the newest secret. */
  readonly held: number
  readonly running: number
}

/** Who holds the newest secret of each of these variables. */
export async function holdersOf<Name extends string>(
  db: Db,
  config: Config,
  variables: readonly Name[]
): Promise<Map<Name, Holders>> {
  const all = await readHoldings(db)
  return new Map(
    variables.map(name => [name, { held: countHolders(all, name, printsOf(config, name)), running: all.length }])
  )
}

/** Waits until all that run hold it. @returns how many do, if the time is over before */
export async function waitUntilHeld(db: Db, config: Config, variable: string, seconds: number): Promise<Holders> {
  const end = performance.now() + seconds * 1_000
  for (;;) {
    const count = (await holdersOf(db, config, [variable])).get(variable)!
    if (count.held === count.running || performance.now() >= end) return count
    await delay(PAUSE)
  }
}

function printsOf(config: Config, variable: string): readonly string[] {
  const ring = ringsOf(config)[variable]
  if (ring !== undefined) {
    const [[id, key] = []] = ring.keys
    return [fingerprintOf(variable, id!, key!)]
  }
  const value = secretsOf(config).find(({ name }) => name === variable)?.value
  return value == null ? [] : fingerprintsOf(config.keys.encryption!, variable, value)
}
