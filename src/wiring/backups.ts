import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { nullIf } from '../../plugins/lib/errno.ts'
import { backupTargetOf } from '../config/backups.ts'
import { createDataDir } from '../config/data-dir.ts'
import { type Config, ConfigError } from '../config/index.ts'
import type { Keyring } from '../config/keyring.ts'
import { describe } from '../config/shown.ts'
import { identitiesIn, makeIdentity, recipientOf } from '../workflows/backups/sealing.ts'
import type { BackupSettings, Keyrings } from '../workflows/backups/settings.ts'

/**
 * The settings for backups of this server.
 * @param databaseUrl bypasses any transaction pooler
 * @throws ConfigError when backups would be readable by anyone, or the private keys cannot be read
 */
export async function backupSettingsOf(config: Config, databaseUrl: string): Promise<BackupSettings> {
  const { recipients, keyRecipients } = config.backups
  const own = recipients.length === 0 ? [await recipientOf(await ownIdentity(config))] : []
  return {
    databaseUrl,
    storage: backupTargetOf(config),
    recipients: [...recipients, ...own],
    keyRecipients: keyRecipients.length > 0 ? keyRecipients : [...recipients, ...own],
    identities: await identitiesOf(config),
    release: config.version,
    keyrings: keyringsOf(config) as Keyrings,
    extras: { settings: describe(config), files: await filesOf(config) }
  }
}

/** The available private age keys: those of the file, or the one generated in development. */
export async function identitiesOf({ backups, dataDir }: Config): Promise<string[]> {
  const { identityFile } = backups
  const text = await readFile(identityFile ?? ownIdentityPath(dataDir), 'utf8').catch(error => {
    if (identityFile === null) return nullIf('ENOENT')(error)
    throw new ConfigError([`BACKUP_IDENTITY_FILE: cannot be read (${error.code})`])
  })
  try {
    return text === null ? [] : identitiesIn(text)
  } catch (error) {
    throw new ConfigError([`BACKUP_IDENTITY_FILE: ${(error as Error).message}`])
  }
}

/** The keyrings of this environment, in the form of their variables; missing ones are left out. */
export function keyringsOf({ keys }: Pick<Config, 'keys'>): Partial<Keyrings> {
  const text = (ring: Keyring | null) =>
    ring && [...ring.keys].map(([id, key]) => `${id}:${key.toString('base64')}`).join(',')
  const rings = {
    SESSION_KEYS: text(keys.session),
    ENCRYPTION_KEYS: text(keys.encryption),
    SIGNING_KEYS: text(keys.signing)
  }
  return Object.fromEntries(Object.entries(rings).filter(([, ring]) => ring !== null))
}

const ownIdentityPath = (dataDir: string) => join(dataDir, 'backup-identity.txt')

/** In development, backups are encrypted for a key of this machine, so that they are never readable by anyone. */
async function ownIdentity({ production, environment, dataDir }: Config): Promise<string> {
  if (production)
    throw new ConfigError([
      `BACKUP_RECIPIENTS: is required for backups in ${environment}: public age keys, with the private ones kept elsewhere`
    ])
  const path = ownIdentityPath(dataDir)
  await createDataDir(dataDir)
  await writeFile(path, `${await makeIdentity()}\n`, { mode: 0o600, flag: 'wx', flush: true }).catch(nullIf('EEXIST'))
  return identitiesIn(await readFile(path, 'utf8'))[0]!
}

async function filesOf({ tls }: Config): Promise<Record<string, string>> {
  if (tls === null) return {}
  const [cert, key] = await Promise.all([readFile(tls.certFile, 'utf8'), readFile(tls.keyFile, 'utf8')])
  return { TLS_CERT_FILE: cert, TLS_KEY_FILE: key }
}
