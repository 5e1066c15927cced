import type { StorageOptions } from '../../../integrations/storage/index.ts'

/** The settings for a backup, drill or restore. Plain data, since they may be sent to another process. */
export interface BackupSettings {
  /** The database, bypassing any transaction pooler. */
  readonly databaseUrl: string
  readonly storage: StorageOptions
  /** Public age keys for the data. */
  readonly recipients: readonly string[]
  /** Public age keys for the keyrings. */
  readonly keyRecipients: readonly string[]
  /** Private age keys; empty where backups are only made. */
  readonly identities: readonly string[]
  readonly release: string
  readonly keyrings: Keyrings
  /** What a bare machine needs besides the data and the keyrings. */
  readonly extras: Extras
}

/** `id:base64` lists, in the form of their variables. */
export type Keyrings = Readonly<Record<'SESSION_KEYS' | 'ENCRYPTION_KEYS' | 'SIGNING_KEYS', string>>

export interface Extras {
  /** The settings, without secrets, as `config print` shows them. */
  readonly settings: Readonly<Record<string, unknown>>
  /** Files such as the TLS certificate and its key, by the variable that names them. */
  readonly files: Readonly<Record<string, string>>
}

/** The content of the keyrings' object. */
export interface KeyBundle extends Extras {
  readonly keyrings: Keyrings
}

/** `id:base64,id:base64` as a map. */
export function keysOf(ring: string): Map<string, Buffer> {
  const entries = ring.split(',').map(entry => {
    const colon = entry.indexOf(':')
    return [entry.slice(0, colon).trim(), Buffer.from(entry.slice(colon + 1), 'base64')] as const
  })
  return new Map(entries)
}
