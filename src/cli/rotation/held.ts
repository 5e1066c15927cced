import { setTimeout as delay } from 'node:timers/promises'
import type { Config } from '../../config/index.ts'
import type { Db } from '../../domain/base/db.ts'
import { countHolders, readHoldings } from '../../domain/secrets/holders.ts'
import { fingerprintOf } from '../../domain/secrets/keyring-check.ts'
import { fingerprintsOf } from '../../domain/secrets/ledger.ts'
import { ringsOf, secretsOf } from '../../wiring/secrets.ts'

const PAUSE = 500

/** How many of the running instances hold the newest secret of a variable. */
export async function holdersOf(db: Db, config: Config, variable: string): Promise<{ held: number; running: number }> {
  const all = await readHoldings(db)
  return { held: countHolders(all, variable, printsOf(config, variable)), running: all.length }
}

/** Waits until all that run hold it. @returns how many do, if the time is over before */
export async function untilHeld(db: Db, config: Config, variable: string, seconds: number) {
  const end = performance.now() + seconds * 1_000
  for (;;) {
    const count = await holdersOf(db, config, variable)
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
