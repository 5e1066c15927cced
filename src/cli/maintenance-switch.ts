import type { MaintenanceChange, MaintenanceState } from '../../plugins/maintenance/index.ts'
import type { Input } from './command.ts'

/** How the state is read and changed: through a server, or past all servers. */
export interface Switch {
  read(): Promise<MaintenanceState>
  change(change: MaintenanceChange): Promise<MaintenanceState>
}
export type Host = Pick<Input, 'config' | 'note'>
