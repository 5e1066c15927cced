import { type SQL, sql } from 'drizzle-orm'
import type { Db } from '../lib/own-types.ts'
import { type MaintenanceState, type MaintenanceStore, openState } from './state.ts'

/** What the store needs of an app. Read on use, so that the app may get it later. */
export interface MaintenanceDatabase {
  readonly db: Db
  readonly postgres: {
    listen(channel: string, onNotify: () => void, onResync: () => void): Promise<() => Promise<void>>
  }
}

const CHANNEL = 'rhone_maintenance'

/** Keeps the state in one row, and notifies every instance of a change in the transaction that makes it. */
export function postgresMaintenanceStore(host: MaintenanceDatabase): MaintenanceStore {
  return {
    load: () => select(host.db),

    update: (decide, record) =>
      host.db.transaction(async tx => {
        await tx.execute(sql`insert into maintenance_state (id) values (1) on conflict do nothing`)
        const before = await select(tx, sql`for update`)
        const after = decide(before)
        if (after === before) return before
        await write(tx, after)
        await record?.(tx, before, after)
        await tx.execute(sql`select pg_notify(${CHANNEL}, '')`)
        return after
      }),

    subscribe: onChange => host.postgres.listen(CHANNEL, onChange, onChange)
  }
}

async function select(db: Db, lock: SQL = sql``): Promise<MaintenanceState> {
  const [row] = await db.execute<Pick<MaintenanceState, keyof MaintenanceState>>(sql`
    select enabled, message, retry_after as "retryAfter", ${iso('until')} as until, ${iso('since')} as since,
      changed_by as by
    from maintenance_state where id = 1 ${lock}`)
  return row ?? openState(null)
}

/** A timestamp in JavaScript's format. */
function iso(column: 'until' | 'since'): SQL {
  return sql`to_char(${sql.identifier(column)} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`
}

async function write(tx: Db, state: MaintenanceState): Promise<void> {
  const { enabled, message, retryAfter, until, since, by } = state
  await tx.execute(sql`
    update maintenance_state
    set enabled = ${enabled}, message = ${message}, retry_after = ${retryAfter}, until = ${until}::timestamptz,
      since = ${since}::timestamptz, changed_by = ${by}, updated_at = now()
    where id = 1`)
}
