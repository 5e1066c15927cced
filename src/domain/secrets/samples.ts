import { asc, eq } from 'drizzle-orm'
import { deploymentSecrets, deployments, envVars } from '../../../drizzle/schema.ts'
import { snapshotOwner } from '../apps/env-snapshot.ts'
import type { Db } from '../base/db.ts'
import { type Keyring, SecretBox } from '../base/secret-box.ts'

/**
 * Opens one sealed value per table and key, to prove that the keys fit the data.
 *
 * @returns the ids of the keys that opened something
 * @throws Error when a value does not open
 */
export async function openSamples(db: Db, ring: Keyring): Promise<string[]> {
  const box = new SecretBox(ring)
  const opened = new Set<string>()
  const vars = await db.selectDistinctOn([envVars.keyId]).from(envVars).orderBy(asc(envVars.keyId))
  for (const { appId, key, keyId, nonce, valueEncrypted: ciphertext } of vars) {
    box.open({ keyId, nonce, ciphertext }, { appId, key })
    opened.add(keyId)
  }
  const snapshots = await db
    .selectDistinctOn([deploymentSecrets.keyId], { secret: deploymentSecrets, appId: deployments.appId })
    .from(deploymentSecrets)
    .innerJoin(deployments, eq(deployments.id, deploymentSecrets.deploymentId))
    .orderBy(asc(deploymentSecrets.keyId))
  for (const { appId, secret } of snapshots) {
    const { keyId, nonce, valueEncrypted: ciphertext } = secret
    box.open({ keyId, nonce, ciphertext }, snapshotOwner(appId, secret.deploymentId))
    opened.add(keyId)
  }
  return [...opened].sort()
}
