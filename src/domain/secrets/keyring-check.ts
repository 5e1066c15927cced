import { createHash, hkdfSync } from 'node:crypto'
import { eq, sql } from 'drizzle-orm'
import { secretLedger } from '../../../drizzle/schema.ts'
import type { Db } from '../base/db.ts'
import type { Keyring } from '../base/secret-box.ts'

/** Hexadecimal digits of a fingerprint that encode the key's id; the rest encode the key. */
const ID_DIGITS = 16
const KEY_DIGITS = 48

const KEYRINGS_LOCK = sql`select pg_advisory_xact_lock(hashtext('rhone.keyrings'))`

/**
 * Compares a keyring with those that other instances have used on this database, and records its keys.
 *
 * A rotation keeps at least one known key, so a ring without any belongs to another installation or was regenerated. A
 * key that reuses the id of another one could not open what that one has sealed.
 *
 * @param name the variable that holds the ring
 * @returns a sentence that says what is wrong with the ring; nothing is recorded then
 */
export async function checkKeyring(db: Db, name: string, ring: Keyring): Promise<string | undefined> {
  const ledgerName = `${name}/keys`
  const own = new Map([...ring.keys].map(([id, key]) => [id, fingerprintOf(name, id, key)]))
  return db.transaction(async tx => {
    // Otherwise two instances that start at once on an empty database would each see only their own keys.
    await tx.execute(KEYRINGS_LOCK)
    const rows = await tx.select().from(secretLedger).where(eq(secretLedger.name, ledgerName))
    const known = new Set(rows.map(({ fingerprint }) => fingerprint))
    const problem = problemOf(name, own, known)
    if (problem !== undefined) return problem
    const values = [...own.values()].map(fingerprint => ({ name: ledgerName, fingerprint }))
    await tx.insert(secretLedger).values(values).onConflictDoNothing()
  })
}

function problemOf(name: string, own: ReadonlyMap<string, string>, known: ReadonlySet<string>): string | undefined {
  const knownIds = new Set([...known].map(idPart))
  for (const [id, fingerprint] of own)
    if (knownIds.has(idPart(fingerprint)) && !known.has(fingerprint))
      return `${name}: key "${id}" differs from the key with this id on other instances`
  if (known.size > 0 && ![...own.values()].some(fingerprint => known.has(fingerprint)))
    return `${name}: has none of the keys that this database was used with; add the older ones after the new one`
}

const idPart = (fingerprint: string): string => fingerprint.slice(0, ID_DIGITS)

/**
 * Identifies a key of a ring, with its id.
 *
 * @param name the variable that holds the ring. A key is 32 random bytes, so the fingerprint reveals nothing about it
 */
export function fingerprintOf(name: string, id: string, key: Buffer): string {
  const idDigits = createHash('sha256').update(id).digest('hex').slice(0, ID_DIGITS)
  const print = hkdfSync('sha256', key, '', `rhone key fingerprint\0${name}`, KEY_DIGITS / 2)
  return idDigits + Buffer.from(print).toString('hex')
}
