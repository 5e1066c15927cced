import type { Position } from '../lib/postgres-hosts.ts'
import type { Hosts } from './hosts.ts'
import type { Pool } from './pool.ts'
import type { Reading, Replica } from './replica.ts'

/** The copies of the database, as seen from this instance. */
export interface Copies {
  /** `replica` while the replica of this instance follows another server; `primary` otherwise. */
  readonly role: 'primary' | 'replica'
  /** Whether the replica answers, so that reads can be served without a primary. */
  readonly canRead: boolean
  /** The end of the primary's log: everything committed so far is at or below it. */
  position(): Promise<Position>
  /** Reports another instance's position, which may show that a server was promoted. */
  observe(position: Position): void
  /** Runs `body`, and everything it starts, with these requirements for its reads. */
  within(reading: Reading, body: () => void): void
}

export function copiesOf(hosts: Hosts, replica: Replica | undefined, pool: Pool): Copies {
  return {
    get role() {
      return replica !== undefined && !replica.isPrimary ? 'replica' : 'primary'
    },
    get canRead() {
      return replica?.isReachable === true
    },
    async position() {
      const [row] = (await pool.run(connection => connection.query(LOG_END, [], false))) as { lsn: string }[]
      return { timeline: hosts.primary?.timeline ?? 0, lsn: BigInt(row!.lsn) }
    },
    observe: ({ timeline }) => hosts.observeTimeline(timeline),
    within: (reading, body) => (replica === undefined ? body() : replica.within(reading, body))
  }
}

/** A commit that is not flushed yet has not been acknowledged to any client. */
const LOG_END = `select (pg_current_wal_flush_lsn() - '0/0'::pg_lsn)::text as lsn`
