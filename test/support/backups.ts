import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import postgres, { type Sql } from 'postgres'
import { postgresTarget } from '../../plugins/lib/postgres.ts'
import { generateKey } from '../../src/config/keyring.ts'
import { makeIdentity, recipientOf } from '../../src/workflows/backups/sealing.ts'
import type { BackupSettings, Keyrings } from '../../src/workflows/backups/settings.ts'
import { freshDatabase, type Scope } from './database.ts'

export const makeKeyrings = (): Keyrings => ({
  SESSION_KEYS: generateKey(),
  ENCRYPTION_KEYS: generateKey(),
  SIGNING_KEYS: generateKey()
})

/** A directory that is removed when the scope ends. */
export async function directoryFor(scope: Scope): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'rhone-backups-'))
  scope.after(() => rm(directory, { recursive: true, force: true }))
  return directory
}

/** The settings of a server with its own database and keys, and with backups in a folder. */
export async function backupSettings(scope: Scope, changes: Partial<BackupSettings> = {}): Promise<BackupSettings> {
  const identity = await makeIdentity()
  const recipients = [await recipientOf(identity)]
  return {
    databaseUrl: changes.databaseUrl ?? (await freshDatabase(scope)),
    storage: { directory: await directoryFor(scope) },
    recipients,
    keyRecipients: recipients,
    identities: [identity],
    release: '1.2.3',
    keyrings: makeKeyrings(),
    extras: { settings: {}, files: {} },
    ...changes
  }
}

/** A separate connection for the test. */
export function connectTo(scope: Scope, url: string): Sql {
  const sql = postgres({ ...postgresTarget(url), max: 1, onnotice: () => {} })
  scope.after(() => sql.end({ timeout: 1 }))
  return sql
}
