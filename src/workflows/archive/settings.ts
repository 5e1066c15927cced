import type { BackupSettings } from '../backups/settings.ts'

/** Everything that archiving needs to know. Plain data, since it is sent to another process. */
export interface ArchiveSettings extends BackupSettings {
  /** For the replication protocol. */
  readonly replicationUrl: string
  /** PostgreSQL puts segments into `wal` below it. */
  readonly directory: string
  /** Bytes of segments that may wait here for the storage. Beyond it, they are given up. */
  readonly limit: number
  /** Days back to which every instant can be reached. */
  readonly keepDays: number
}
