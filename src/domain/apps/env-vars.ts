import { and, eq, gt, sql } from 'drizzle-orm'
import { envVars } from '../../../drizzle/schema.ts'
import { errors } from '../../../plugins/lib/errors.ts'
import { type Db, violatedConstraint } from '../base/db.ts'
import { cutPage, DEFAULT_LIMIT, type Page, type PageRequest, parseNameCursor } from '../base/page.ts'
import { type SecretBox, TAG_BYTES } from '../base/secret-box.ts'
import { notifyOfApp } from './notices.ts'

const MAX_VARS = 500
const MAX_BYTES = 65_536
/** Limit over all values of an app: logs are searched for them, and a process environment is limited in size. */
const MAX_TOTAL_BYTES = 262_144

/** Set by the platform or by the machine's own system. */
const RESERVED = new Set(['HOME', 'HOST', 'PATH', 'PORT', 'PRIMARY_REGION', 'SHELL', 'USER'])
const RESERVED_PREFIXES = ['FLY_', 'INTERNAL_', 'VANGO_']

/** The readable part of a variable. */
export interface EnvVar {
  key: string
  version: number
  buildTime: boolean
  createdAt: Date
  updatedAt: Date
}

const shown = {
  key: envVars.key,
  version: envVars.version,
  buildTime: envVars.buildTime,
  createdAt: envVars.createdAt,
  updatedAt: envVars.updatedAt
}

/** The variables of an app, by name. */
export async function listEnvVars(
  db: Db,
  appId: string,
  { limit = DEFAULT_LIMIT, cursor }: PageRequest = {}
): Promise<Page<EnvVar>> {
  const after = parseNameCursor(cursor)
  const rows = await db
    .select(shown)
    .from(envVars)
    .where(and(eq(envVars.appId, appId), after === undefined ? undefined : gt(envVars.key, after)))
    .orderBy(envVars.key)
    .limit(limit + 1)
  return cutPage(rows, limit, ({ key }) => key)
}

/**
 * Sets a variable, and reports whether it is new. The value is stored sealed and cannot be read through the API.
 *
 * @param buildTime whether builds see it too
 */
export async function setEnvVar(
  db: Db,
  box: SecretBox,
  appId: string,
  key: string,
  value: string,
  buildTime = false
): Promise<EnvVar & { created: boolean }> {
  refuseReserved(key)
  if (Buffer.byteLength(value) > MAX_BYTES) throw errors.validation('value', `must not exceed ${MAX_BYTES} bytes`)
  await refuseTooMuch(db, appId, key, Buffer.byteLength(value))

  const { keyId, nonce, ciphertext } = box.seal(value, { appId, key })
  return upsert(db, { appId, key, keyId, nonce, valueEncrypted: ciphertext, buildTime })
}

async function upsert(db: Db, { appId, key, ...set }: typeof envVars.$inferInsert) {
  try {
    const [row] = await db
      .insert(envVars)
      .values({ appId, key, ...set })
      .onConflictDoUpdate({
        target: [envVars.appId, envVars.key],
        set: { ...set, version: sql`${envVars.version} + 1` }
      })
      // `xmax` is 0 for a row that this statement inserted.
      .returning({ ...shown, created: sql<boolean>`xmax = 0`, notified: notifyOfApp(envVars.appId) })
    const { notified: _, ...variable } = row!
    return variable
  } catch (error) {
    // The app was deleted after it was read.
    if (violatedConstraint(error) === 'env_vars_app_id_apps_id_fk') throw errors.notFound('app')
    throw error
  }
}

export async function deleteEnvVar(db: Db, appId: string, key: string): Promise<void> {
  const deleted = await db
    .delete(envVars)
    .where(and(eq(envVars.appId, appId), eq(envVars.key, key)))
    .returning({ notified: notifyOfApp(envVars.appId) })
  if (deleted.length === 0) throw errors.notFound('env var')
}

function refuseReserved(key: string): void {
  const prefix = RESERVED_PREFIXES.find(reserved => key.startsWith(reserved))
  if (prefix !== undefined) throw errors.validation('key', `names that start with ${prefix} are reserved`)
  if (RESERVED.has(key)) throw errors.validation('key', `${key} is reserved`)
}

async function refuseTooMuch(db: Db, appId: string, key: string, bytes: number): Promise<void> {
  const [others] = await db
    .select({
      vars: sql<number>`count(*)::int`,
      // A ciphertext is as long as its plaintext plus the tag.
      bytes: sql<number>`coalesce(sum(length(${envVars.valueEncrypted}) - ${TAG_BYTES}::int), 0)::int`
    })
    .from(envVars)
    .where(and(eq(envVars.appId, appId), sql`${envVars.key} <> ${key}`))
  if (others!.vars >= MAX_VARS) throw errors.conflict(`An app can have at most ${MAX_VARS} env vars`)
  if (others!.bytes + bytes > MAX_TOTAL_BYTES)
    throw errors.conflict(`The env vars of an app can have at most ${MAX_TOTAL_BYTES} bytes in total`)
}
