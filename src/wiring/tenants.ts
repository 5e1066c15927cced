import type { FastifyRequest } from 'fastify'
import { isTenantUser } from '../../plugins/lib/tenant-users.ts'
import type { Config } from '../config/index.ts'
import { peerUser } from './peer-user.ts'

/**
 * Whether a tenant's program on this machine sent this request. It may use the API with a token, as from anywhere else,
 * but neither local-only access nor cookies, which browsers also send to other ports. Always false if apps run
 * elsewhere, or run as our own user and can read our files anyway.
 */
export function isTenant({ deployer }: Pick<Config, 'deployer'>, { raw }: FastifyRequest): boolean {
  if (deployer !== 'local' || process.geteuid?.() !== 0) return false
  const user = peerUser(raw.socket)
  return user === 'unknown' || (user !== null && isTenantUser(user))
}
