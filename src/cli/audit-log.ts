import type { Config } from '../config/index.ts'
import type { AuditLog } from '../domain/audit/log.ts'
import type { Input } from './command.ts'

/** The configuration, including the keys that a development server generates for itself. */
export async function withKeys({ config }: Pick<Input, 'config'>): Promise<Config> {
  const given = await config()
  const { session, encryption, signing } = given.keys
  if (session !== null && encryption !== null && signing !== null) return given
  const { developmentKeyrings } = await import('../config/keyring.ts')
  const own = await developmentKeyrings(given.dataDir)
  return {
    ...given,
    keys: { session: session ?? own.session, encryption: encryption ?? own.encryption, signing: signing ?? own.signing }
  }
}

/** The audit log, with the keys of a server in this environment. */
export async function auditLogFor(input: Pick<Input, 'config'>): Promise<AuditLog> {
  const { auditLogOf } = await import('../wiring/audit-log.ts')
  return auditLogOf(await withKeys(input))
}
