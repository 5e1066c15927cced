import type { MaintenanceChange, MaintenanceState } from '../../plugins/maintenance/index.ts'
import type { Input } from './command.ts'

/** Reads and changes the state, through a server or directly in the database. */
export interface MaintenanceSwitch {
  read(): Promise<MaintenanceState>
  change(change: MaintenanceChange): Promise<MaintenanceState>
}
export type Host = Pick<Input, 'config' | 'variables' | 'folder' | 'note'>
