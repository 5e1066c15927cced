import { ACTIVE_DEPLOYMENT_STATUSES } from './schema.ts'

export interface ConcurrentIndex {
  name: string
  /** The part after `CREATE INDEX CONCURRENTLY <name> ON`. */
  on: string
}

const active = ACTIVE_DEPLOYMENT_STATUSES.map(status => `'${status}'`).join(', ')

/**
 * Indexes on large, busy tables, built without blocking writes. This is impossible in a transaction, and so in a
 * migration. Missing ones are built after the migrations; to change an index, give it a new name.
 */
export const concurrentIndexes: readonly ConcurrentIndex[] = [
  { name: 'idx_apps_created_at', on: 'apps (created_at)' },
  { name: 'idx_deployments_created_at', on: 'deployments (created_at)' },
  { name: 'idx_deployments_active', on: `deployments (status) WHERE status IN (${active})` },
  { name: 'idx_audit_seals_erasure', on: 'audit_seals (erasure_key_id) WHERE erasure IS NOT NULL' }
]
