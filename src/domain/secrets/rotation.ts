import { setTimeout as delay } from 'node:timers/promises'
import { and, asc, count, eq, gt, inArray } from 'drizzle-orm'
import { deploymentSecrets, deployments, envVars } from '../../../drizzle/schema.ts'
import { snapshotOwner } from '../apps/env-snapshot.ts'
import type { AuditLog } from '../audit/log.ts'
import type { Db } from '../base/db.ts'
import { type Keyring, type Owner, type Sealed, SecretBox } from '../base/secret-box.ts'

const BATCH = 100
const FIRST_ID = '00000000-0000-0000-0000-000000000000'
/** How often to retry rows that other transactions hold, and the pause in milliseconds. */
const PASSES = 20
const PASS_PAUSE = 250

interface SealedRow extends Sealed {
  readonly id: string
  readonly owner: Owner
}

/** A table with sealed values. */
interface SealedTable {
  readonly name: string
  /** Locks the next rows sealed with these keys, by id, skipping those that other transactions hold. */
  readonly hold: (tx: Db, keyIds: readonly string[], after: string) => Promise<SealedRow[]>
  readonly replace: (tx: Db, id: string, fresh: Sealed) => Promise<unknown>
  readonly countByKey: (db: Db) => Promise<{ keyId: string; rows: number }[]>
}

const TABLES: readonly SealedTable[] = [
  {
    name: 'env_vars',
    async hold(tx, keyIds, after) {
      const rows = await tx
        .select()
        .from(envVars)
        .where(and(gt(envVars.id, after), inArray(envVars.keyId, [...keyIds])))
        .orderBy(asc(envVars.id))
        .limit(BATCH)
        .for('update', { skipLocked: true })
      return rows.map(({ id, appId, key, keyId, nonce, valueEncrypted: ciphertext }) => {
        return { id, keyId, nonce, ciphertext, owner: { appId, key } }
      })
    },
    replace: (tx, id, { keyId, nonce, ciphertext: valueEncrypted }) =>
      tx.update(envVars).set({ keyId, nonce, valueEncrypted }).where(eq(envVars.id, id)),
    countByKey: db => db.select({ keyId: envVars.keyId, rows: count() }).from(envVars).groupBy(envVars.keyId)
  },
  {
    name: 'deployment_secrets',
    async hold(tx, keyIds, after) {
      const rows = await tx
        .select({ secret: deploymentSecrets, appId: deployments.appId })
        .from(deploymentSecrets)
        .innerJoin(deployments, eq(deployments.id, deploymentSecrets.deploymentId))
        .where(and(gt(deploymentSecrets.deploymentId, after), inArray(deploymentSecrets.keyId, [...keyIds])))
        .orderBy(asc(deploymentSecrets.deploymentId))
        .limit(BATCH)
        .for('update', { of: deploymentSecrets, skipLocked: true })
      return rows.map(({ appId, secret: { deploymentId: id, keyId, nonce, valueEncrypted: ciphertext } }) => {
        return { id, keyId, nonce, ciphertext, owner: snapshotOwner(appId, id) }
      })
    },
    replace: (tx, id, { keyId, nonce, ciphertext: valueEncrypted }) =>
      tx.update(deploymentSecrets).set({ keyId, nonce, valueEncrypted }).where(eq(deploymentSecrets.deploymentId, id)),
    countByKey: db =>
      db
        .select({ keyId: deploymentSecrets.keyId, rows: count() })
        .from(deploymentSecrets)
        .groupBy(deploymentSecrets.keyId)
  }
]

/** The number of rows of a table that are sealed with one key. */
export interface SealedCount {
  readonly table: string
  readonly keyId: string
  readonly rows: number
  /** `current` seals, `old` still opens, and `missing` is not in the ring. */
  readonly key: 'current' | 'old' | 'missing'
}

/** Counts the sealed rows by table and key. */
export async function countSealed(db: Db, ring: Keyring): Promise<SealedCount[]> {
  const counts = await Promise.all(
    TABLES.map(async ({ name, countByKey }) =>
      (await countByKey(db)).map(({ keyId, rows }) => ({ table: name, keyId, rows, key: keyStateOf(keyId, ring) }))
    )
  )
  return counts.flat().sort((a, b) => a.table.localeCompare(b.table) || a.keyId.localeCompare(b.keyId))
}

function keyStateOf(keyId: string, ring: Keyring): SealedCount['key'] {
  if (keyId === ring.current.id) return 'current'
  return ring.keys.has(keyId) ? 'old' : 'missing'
}

export interface Rotation {
  /** The key that seals from now on. */
  readonly keyId: string
  /** Values that were resealed, by table. */
  readonly rotated: Readonly<Record<string, number>>
  /** Values that no key opens, by table and id. */
  readonly damaged: readonly { readonly table: string; readonly id: string }[]
  /** Values still sealed with another key: one that is missing, or of rows that stayed locked. */
  readonly left: readonly SealedCount[]
}

export interface RotationOptions {
  readonly actor: string
  /** Called after each batch. */
  readonly onProgress?: (table: string, rotated: number) => void
}

/**
 * Reseals everything under older keys with the newest one, while the server keeps running: short transactions lock the
 * rows they read, so that no concurrent write is lost. An interrupted run is continued by the next one.
 */
export async function rotateSecrets(db: Db, log: AuditLog, ring: Keyring, options: RotationOptions): Promise<Rotation> {
  const keyId = ring.current.id
  const rotated: Record<string, number> = {}
  const damaged: { table: string; id: string }[] = []
  const hasWork = (await countSealed(db, ring)).some(({ key }) => key === 'old')
  if (hasWork) await log.write(db, eventOf(keyId, options.actor))
  for (const table of TABLES) {
    const result = await rotateTable(db, ring, table, count => options.onProgress?.(table.name, count))
    rotated[table.name] = result.rotated
    damaged.push(...result.damaged.map(id => ({ table: table.name, id })))
  }
  const left = (await countSealed(db, ring)).filter(({ key }) => key !== 'current')
  return { keyId, rotated, damaged, left }
}

function eventOf(keyId: string, actor: string) {
  return {
    eventType: 'admin',
    action: 'rotate',
    actor,
    resource: 'secret',
    resourceName: 'ENCRYPTION_KEYS',
    details: { keyId }
  } as const
}

async function rotateTable(db: Db, ring: Keyring, table: SealedTable, onProgress: (rotated: number) => void) {
  const box = new SecretBox(ring)
  const oldKeys = [...ring.keys.keys()].filter(id => id !== ring.current.id)
  const damaged = new Set<string>()
  let rotated = 0
  for (let pass = 0; pass < PASSES && oldKeys.length > 0; pass++) {
    for (let last: string | undefined = FIRST_ID; last !== undefined; ) {
      const batch = await db.transaction(tx => rotateBatch(tx, box, table, oldKeys, last!))
      for (const id of batch.damaged) damaged.add(id)
      rotated += batch.rotated
      last = batch.last
      if (batch.rotated > 0) onProgress(rotated)
    }
    if ((await countOld(db, table, oldKeys)) <= damaged.size) break
    await delay(PASS_PAUSE)
  }
  return { rotated, damaged: [...damaged] }
}

async function rotateBatch(tx: Db, box: SecretBox, table: SealedTable, oldKeys: readonly string[], after: string) {
  const rows = await table.hold(tx, oldKeys, after)
  const damaged: string[] = []
  for (const row of rows) {
    const text = openOrNull(box, row)
    if (text === null) damaged.push(row.id)
    else await table.replace(tx, row.id, box.seal(text, row.owner))
  }
  return { rotated: rows.length - damaged.length, damaged, last: rows.at(-1)?.id }
}

/** One altered value must not stop the others from being resealed. */
function openOrNull(box: SecretBox, { owner, ...sealed }: SealedRow): string | null {
  try {
    return box.open(sealed, owner)
  } catch {
    return null
  }
}

async function countOld(db: Db, { countByKey }: SealedTable, oldKeys: readonly string[]): Promise<number> {
  const counts = await countByKey(db)
  return counts.filter(({ keyId }) => oldKeys.includes(keyId)).reduce((sum, { rows }) => sum + rows, 0)
}
