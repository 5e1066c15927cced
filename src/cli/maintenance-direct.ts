import { auditLogs } from '../../drizzle/schema.ts'
import { AUDIT_DETAILS } from '../../plugins/audit/catalogue.ts'
import { systemRow } from '../../plugins/audit/row.ts'
import type { RecordChange } from '../../plugins/maintenance/index.ts'
import { changedState, changeEvent, stateAt } from '../../plugins/maintenance/state.ts'
import { postgresMaintenanceStore } from '../../plugins/maintenance/store-postgres.ts'
import { commandLineActor } from './actor.ts'
import { withDatabase } from './database.ts'
import type { Host, Switch } from './maintenance-switch.ts'

/**
 * Changes the row that the servers follow, without any of them: they hear of it as of a change of their own. The audit
 * log has it as done by whoever is logged in on this machine.
 */
export function directSwitch(host: Host): Switch {
  const withStore = <Result>(use: (store: ReturnType<typeof postgresMaintenanceStore>) => Promise<Result>) =>
    withDatabase(host, db => use(postgresMaintenanceStore({ db, postgres: { listen: neverCalled } })))

  return {
    read: () => withStore(async store => stateAt(await store.load(), Date.now())),
    change: change =>
      withStore(store => {
        const by = commandLineActor()
        return store.update(current => changedState(current, change, by, Date.now()), recordAs(by))
      })
  }
}

function recordAs(actor: string): RecordChange {
  return async (tx, before, after) => {
    await tx?.insert(auditLogs).values(systemRow({ ...changeEvent(before, after), actor }, AUDIT_DETAILS))
  }
}

/** Only servers stay to hear of changes. */
async function neverCalled(): Promise<never> {
  throw new Error('a command does not listen')
}
