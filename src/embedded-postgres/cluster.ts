import type { PostgresBinaries } from './binaries.ts'
import { PORT } from './connection.ts'
import type { Layout } from './data-directory.ts'
import type { Launcher } from './privileges.ts'

/** Everything needed to start the same PostgreSQL again. */
export interface Cluster {
  readonly layout: Layout
  readonly binaries: PostgresBinaries
  readonly launcher: Launcher
  readonly socketDirectory: string
  readonly url: string
  readonly durable: boolean
  readonly maxConnections: number
  /** The directory that PostgreSQL copies complete log segments into; null: no archiving. */
  readonly archive: string | null
  readonly log: Log
}

export interface Log {
  info(message: string): void
  warn(message: string): void
  error(message: string): void
}

/**
 * Settings for a small machine shared with this server. They go on the command line, so a new release can change them.
 */
function settings(cluster: Cluster): Record<string, string | number> {
  const { socketDirectory, durable, maxConnections, archive } = cluster
  return {
    listen_addresses: '',
    port: PORT,
    unix_socket_directories: `"${socketDirectory.replaceAll('"', '""')}"`,
    unix_socket_permissions: '0700',
    max_connections: maxConnections,
    shared_buffers: '128MB',
    effective_cache_size: '512MB',
    max_wal_size: '512MB',
    // Reads from a database this small come from memory: three more I/O processes would sit idle.
    io_method: 'sync',
    max_logical_replication_workers: 0,
    jit: 'off',
    timezone: 'UTC',
    log_timezone: 'UTC',
    synchronous_commit: 'on',
    fsync: durable ? 'on' : 'off',
    full_page_writes: durable ? 'on' : 'off',
    log_checkpoints: 'off',
    // Statements and the key values in constraint violations are user data.
    log_min_error_statement: 'panic',
    log_error_verbosity: 'terse',
    ...(archive !== null && archiving(archive))
  }
}

/**
 * Seconds after which the current segment is archived even if it is not full. Encrypting and storing it fit into the
 * rest of a minute.
 */
const ARCHIVE_TIMEOUT = 45

/** PostgreSQL's own module copies, syncs and renames the file, and needs no shell. */
function archiving(directory: string): Record<string, string | number> {
  return {
    archive_mode: 'on',
    archive_library: 'basic_archive',
    'basic_archive.archive_directory': directory,
    archive_timeout: ARCHIVE_TIMEOUT
  }
}

export function postmasterCommand(cluster: Cluster): string[] {
  const options = Object.entries(settings(cluster)).flatMap(([name, value]) => ['-c', `${name}=${value}`])
  return [cluster.binaries.postgres, '-D', cluster.layout.data, ...options]
}
