import type { FastifyRequest } from 'fastify'
import { isTenantUser } from '../../plugins/lib/tenant-users.ts'
import type { Config } from '../config/index.ts'
import { peerUser } from './peer-user.ts'

/**
 * Whether a program that a tenant has brought makes this request from this machine. It may use the API with a token, as
 * from anywhere; what is open to this machine alone, and cookies, which browsers also send to other ports, are not for
 * it. Always false where apps do not run here, or run as our own user and can read our files anyway.
 */
export function isTenant({ deployer }: Pick<Config, 'deployer'>, { raw }: FastifyRequest): boolean {
  if (deployer !== 'local' || process.geteuid?.() !== 0) return false
  const user = peerUser(raw.socket)
  return user === 'unknown' || (user !== null && isTenantUser(user))
}
