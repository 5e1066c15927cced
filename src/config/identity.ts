import { Type } from '@sinclair/typebox'
import { type Keyring, parseKeyring } from './keyring.ts'
import { credential, section } from './section.ts'

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
  SESSION_KEYS: credential('Keyring for sessions: id:base64,id:base64, newest first.', { form: 'keyring' }),
  ENCRYPTION_KEYS: credential('Keyring for stored secrets.', { form: 'keyring', days: 365 }),
  SIGNING_KEYS: credential('Keyring for signed access tokens.', { form: 'keyring' }),
  LOCAL_ACCOUNTS: Type.Boolean({
    default: false,
    description: 'Allow passwords, for accounts created by `user create`.'
  })
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
