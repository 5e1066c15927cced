import { ACTIVE_DEPLOYMENT_STATUSES } from './schema.ts'

export interface ConcurrentIndex {
  name: string
  /** What follows `CREATE INDEX CONCURRENTLY <name> ON`. */
  on: string
}

const active = ACTIVE_DEPLOYMENT_STATUSES.map(status => `'${status}'`).join(', ')

/**
 * Indexes on tables that are large and busy, built while the tables are in use. That works in no transaction, hence in
 * no migration. They are made after the migrations, if they are not there; to change one, give it a new name.
 */
export const concurrentIndexes: readonly ConcurrentIndex[] = [
  { name: 'idx_apps_created_at', on: 'apps (created_at)' },
  { name: 'idx_deployments_created_at', on: 'deployments (created_at)' },
  { name: 'idx_deployments_active', on: `deployments (status) WHERE status IN (${active})` },
  { name: 'idx_audit_seals_erasure', on: 'audit_seals (erasure_key_id) WHERE erasure IS NOT NULL' }
]
