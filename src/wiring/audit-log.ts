import type { Config } from '../config/index.ts'
import { AuditKeys } from '../domain/audit/keys.ts'
import { AuditLog } from '../domain/audit/log.ts'

/** The audit log as configured for this server. */
export function auditLogOf({ keys }: Pick<Config, 'keys'>): AuditLog {
  return new AuditLog(new AuditKeys(keys.signing!))
}
