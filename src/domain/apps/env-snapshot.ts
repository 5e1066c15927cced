import { eq } from 'drizzle-orm'
import { deploymentSecrets, envVars } from '../../../drizzle/schema.ts'
import type { Db } from '../base/db.ts'
import type { SecretBox } from '../base/secret-box.ts'

export type Env = Readonly<Record<string, string>>

/** What a deployment's env is bound to. No env var has such a name. */
export const snapshotOwner = (appId: string, deploymentId: string) => ({ appId, key: `deployment ${deploymentId}` })

/**
 * Seals the env of an app as it is now, for one deployment: that is what it runs with from now on, also when it is started
 * again months later.
 *
 * @returns its names, and which value of each it is
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

/** The env that was sealed for a deployment; undefined when there is none, or none any more. */
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

/** The variables that builds see, too. */
export async function readBuildEnv(db: Db, box: SecretBox, appId: string): Promise<Env> {
  const vars = await db.select().from(envVars).where(eq(envVars.appId, appId))
  return Object.fromEntries(vars.filter(({ buildTime }) => buildTime).map(envVar => [envVar.key, open(box, envVar)]))
}

function open(box: SecretBox, { appId, key, keyId, nonce, valueEncrypted }: typeof envVars.$inferSelect): string {
  return box.open({ keyId, nonce, ciphertext: valueEncrypted }, { appId, key })
}
