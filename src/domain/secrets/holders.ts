import { eq, lt, sql } from 'drizzle-orm'
import { secretHolders } from '../../../drizzle/schema.ts'
import type { Db } from '../base/db.ts'
import type { Keyring } from '../base/secret-box.ts'
import { fingerprintOf } from './keyring-check.ts'
import { fingerprintsOf, type ServerSecret } from './ledger.ts'

/** The secrets that an instance holds, as fingerprints by variable; for a keyring, one per key. */
export type Holdings = Readonly<Record<string, readonly string[]>>

/**
 * Seconds after its last report for which an instance counts as running: an instance that hangs for less finds that the
 * others have waited for it. A stopping instance withdraws at once.
 */
export const HOLDER_TIMEOUT = 60

/** Rows of stopped instances are removed after this many seconds. */
const REMOVED_AFTER = 86_400

/** The channel on which instances announce changes of their secrets. */
export const HOLDERS_CHANNEL = 'rhone_secret_holders'

export function holdingsOf(
  ring: Keyring,
  secrets: readonly ServerSecret[],
  rings: Readonly<Record<string, Keyring>>
): Holdings {
  const plain = secrets.flatMap(({ name, value }) =>
    value === null || name in rings ? [] : [[name, fingerprintsOf(ring, name, value)] as const]
  )
  const keys = Object.entries(rings).map(
    ([name, { keys }]) => [name, [...keys].map(([id, key]) => fingerprintOf(name, id, key))] as const
  )
  return Object.fromEntries([...plain, ...keys])
}

/** @param isNews whether to notify the other instances at once */
export async function publishHoldings(db: Db, instance: string, holds: Holdings, isNews: boolean): Promise<void> {
  await db.transaction(async tx => {
    await tx
      .insert(secretHolders)
      .values({ instance, holds })
      .onConflictDoUpdate({ target: secretHolders.instance, set: { holds, seenAt: sql`now()` } })
    await tx.delete(secretHolders).where(lt(secretHolders.seenAt, secondsAgo(REMOVED_AFTER)))
    if (isNews) await tx.execute(sql`select pg_notify(${HOLDERS_CHANNEL}, '')`)
  })
}

export async function withdrawHoldings(db: Db, instance: string): Promise<void> {
  await db.delete(secretHolders).where(eq(secretHolders.instance, instance))
}

/** The secrets of the running instances. The database's clock decides who is running; others do not matter. */
export async function readHoldings(db: Db): Promise<Holdings[]> {
  const rows = await db
    .select({ holds: secretHolders.holds })
    .from(secretHolders)
    .where(sql`${secretHolders.seenAt} > ${secondsAgo(HOLDER_TIMEOUT)}`)
  return rows.map(({ holds }) => holds)
}

/** How many instances hold at least one of these fingerprints. */
export function countHolders(all: readonly Holdings[], name: string, prints: readonly string[]): number {
  return all.filter(holds => holds[name]?.some(print => prints.includes(print))).length
}

const secondsAgo = (seconds: number) => sql`now() - make_interval(secs => ${seconds})`
