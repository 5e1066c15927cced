import { AUDIT_DETAILS } from '../../plugins/audit/catalogue.ts'
import { systemRow } from '../../plugins/audit/row.ts'
import type { RecordChange } from '../../plugins/maintenance/index.ts'
import { changedState, changeEvent, stateAt } from '../../plugins/maintenance/state.ts'
import { postgresMaintenanceStore } from '../../plugins/maintenance/store-postgres.ts'
import type { AuditLog } from '../domain/audit/log.ts'
import { commandLineActor } from './actor.ts'
import { auditLogFor } from './audit-log.ts'
import { withDatabase } from './database.ts'
import type { Host, MaintenanceSwitch } from './maintenance-switch.ts'

/**
 * Changes the row that all servers follow, without going through a server; they are notified as usual. The audit log
 * names the user who is logged in on this machine.
 */
export function directSwitch(host: Host): MaintenanceSwitch {
  const withStore = <Result>(use: (store: ReturnType<typeof postgresMaintenanceStore>) => Promise<Result>) =>
    withDatabase(host, db => use(postgresMaintenanceStore({ db, postgres: { listen: neverCalled } })))

  return {
    read: () => withStore(async store => stateAt(await store.load(), Date.now())),
    change: async change => {
      const by = commandLineActor()
      const record = recordIn(await auditLogFor(host), by)
      return withStore(store => store.update(current => changedState(current, change, by, Date.now()), record))
    }
  }
}

function recordIn(log: AuditLog, actor: string): RecordChange {
  return async (tx, before, after) => {
    if (tx !== null) await log.write(tx, systemRow({ ...changeEvent(before, after), actor }, AUDIT_DETAILS))
  }
}

/** Only servers stay running to be notified of changes. */
async function neverCalled(): Promise<never> {
  throw new Error('a command has no listener')
}
