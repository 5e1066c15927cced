import { and, eq } from 'drizzle-orm'
import { deploymentSecrets, envVars } from '../../../drizzle/schema.ts'
import type { Db } from '../base/db.ts'
import type { SecretBox } from '../base/secret-box.ts'

export type Env = Readonly<Record<string, string>>

/** The owner that a deployment's sealed env is bound to. No env var can have this name. */
export const snapshotOwner = (appId: string, deploymentId: string) => ({ appId, key: `deployment ${deploymentId}` })

/**
 * Seals the app's current env for one deployment, which keeps running with it, even when it is restarted months later.
 *
 * @returns the names, and the version of each value
 */
export async function snapshotEnv(
  tx: Db,
  box: SecretBox,
  appId: string,
  deploymentId: string
): Promise<Record<string, number>> {
  const vars = await tx.select().from(envVars).where(eq(envVars.appId, appId)).orderBy(envVars.key)
  const env = Object.fromEntries(vars.map(envVar => [envVar.key, open(box, envVar)]))
  const { keyId, nonce, ciphertext } = box.seal(JSON.stringify(env), snapshotOwner(appId, deploymentId))
  const sealed = { keyId, nonce, valueEncrypted: ciphertext }
  await tx
    .insert(deploymentSecrets)
    .values({ deploymentId, ...sealed })
    .onConflictDoUpdate({ target: deploymentSecrets.deploymentId, set: sealed })
  return Object.fromEntries(vars.map(({ key, version }) => [key, version]))
}

/** The env that was sealed for a deployment; undefined if there is none, or it has been dropped. */
export async function readSnapshot(
  db: Db,
  box: SecretBox,
  appId: string,
  deploymentId: string
): Promise<Env | undefined> {
  const [row] = await db.select().from(deploymentSecrets).where(eq(deploymentSecrets.deploymentId, deploymentId))
  if (row === undefined) return undefined
  const { keyId, nonce, valueEncrypted: ciphertext } = row
  return JSON.parse(box.open({ keyId, nonce, ciphertext }, snapshotOwner(appId, deploymentId)))
}

/** The variables that are visible to builds. */
export async function readBuildEnv(db: Db, box: SecretBox, appId: string): Promise<Env> {
  const vars = await db
    .select()
    .from(envVars)
    .where(and(eq(envVars.appId, appId), envVars.buildTime))
  return Object.fromEntries(vars.map(envVar => [envVar.key, open(box, envVar)]))
}

export interface EnvValue {
  readonly key: string
  readonly value: string
  readonly buildTime: boolean
}

/** The app's current variables, by name. */
export async function readEnv(db: Db, box: SecretBox, appId: string): Promise<EnvValue[]> {
  const vars = await db.select().from(envVars).where(eq(envVars.appId, appId)).orderBy(envVars.key)
  return vars.map(envVar => ({ key: envVar.key, value: open(box, envVar), buildTime: envVar.buildTime }))
}

function open(box: SecretBox, { appId, key, keyId, nonce, valueEncrypted }: typeof envVars.$inferSelect): string {
  return box.open({ keyId, nonce, ciphertext: valueEncrypted }, { appId, key })
}
