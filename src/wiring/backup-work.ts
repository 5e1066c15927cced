import type { Config } from '../config/index.ts'
import type { Drill } from '../workflows/backups/drill.ts'
import type { Descriptor } from '../workflows/backups/manifest.ts'
import type { BackupSettings } from '../workflows/backups/settings.ts'

/** What the process for heavy work is sent, once. */
export type BackupWork = { readonly settings: BackupSettings } & (
  | { readonly kind: 'create' }
  | { readonly kind: 'drill'; readonly dataDir: Config['dataDir'] }
)

/** What it answers, once. */
export type BackupAnswer =
  | { readonly ok: true; readonly result: Descriptor | Drill }
  | { readonly ok: false; readonly message: string }
