import { Type } from '@sinclair/typebox'
import { type Keyring, parseKeyring } from './keyring.ts'
import { optional, section, text } from './section.ts'

/** How users and secrets are recognised. */
export interface IdentitySettings {
  /** Null in development when unset: the process edge then generates keys and stores them. */
  readonly keys: {
    readonly session: Keyring | null
    readonly encryption: Keyring | null
    readonly signing: Keyring | null
  }
  readonly localAccounts: boolean
}

const variables = {
  SESSION_KEYS: optional(text('Keyring for sessions: id:base64,id:base64, newest first.')),
  ENCRYPTION_KEYS: optional(text('Keyring for stored secrets.')),
  SIGNING_KEYS: optional(text('Keyring for signed access tokens.')),
  LOCAL_ACCOUNTS: Type.Boolean({ default: false, description: 'Take passwords, for accounts made by `user create`.' })
}

export default section(variables, ({ env, environment, production, parse, refuse }) => {
  for (const name of ['SESSION_KEYS', 'ENCRYPTION_KEYS', 'SIGNING_KEYS'] as const)
    if (production && env[name] === undefined) refuse(`${name}: is required in ${environment}`)
  const settings: IdentitySettings = {
    keys: {
      session: parse('SESSION_KEYS', parseKeyring),
      encryption: parse('ENCRYPTION_KEYS', parseKeyring),
      signing: parse('SIGNING_KEYS', parseKeyring)
    },
    localAccounts: env.LOCAL_ACCOUNTS
  }
  return settings
})
