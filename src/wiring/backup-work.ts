import type { Config } from '../config/index.ts'
import type { ArchiveSettings } from '../workflows/archive/settings.ts'
import type { ArchiveState } from '../workflows/archive/state.ts'
import type { Drill } from '../workflows/backups/drill.ts'
import type { Descriptor } from '../workflows/backups/manifest.ts'
import type { BackupSettings } from '../workflows/backups/settings.ts'

/** The one message sent to the process. */
export type BackupWork =
  | { readonly kind: 'create'; readonly settings: BackupSettings }
  | { readonly kind: 'drill'; readonly settings: BackupSettings; readonly dataDir: Config['dataDir'] }
  | { readonly kind: 'archive'; readonly settings: ArchiveSettings }

/** The one message it replies with. */
export type BackupAnswer =
  | { readonly ok: true; readonly result: Descriptor | Drill | ArchiveState }
  | { readonly ok: false; readonly message: string }
