import type { BackupSettings } from '../backups/settings.ts'

/** The settings for archiving. Plain data, since they are sent to another process. */
export interface ArchiveSettings extends BackupSettings {
  /** For the replication protocol. */
  readonly replicationUrl: string
  /** PostgreSQL puts segments into `wal` below it. */
  readonly directory: string
  /** Maximum bytes of segments waiting here for the storage. Beyond it, they are given up. */
  readonly limit: number
  /** Days back to which every instant can be recovered. */
  readonly keepDays: number
}
