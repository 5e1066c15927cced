import { setPriority } from 'node:os'
import { explain } from '../kernel/explain.ts'
import { archive } from '../workflows/archive/ship.ts'
import { createBackup } from '../workflows/backups/create.ts'
import { drillBackup } from '../workflows/backups/drill.ts'
import type { BackupAnswer, BackupWork } from './backup-work.ts'
import { ownMigrator } from './migrator.ts'
import { temporaryCluster } from './throw-away-cluster.ts'

/*
 * The entry of the process that makes a backup or practises a restore, so that neither its memory nor its computing
 * concerns the server's requests. It does one piece of work, and gives up when the process that asked for it is gone.
 */

/** Requests take precedence when both want the CPU. */
const NICE = 10

const gone = new AbortController()
process.once('disconnect', () => gone.abort())
// Ctrl+C interrupts this process, too, which first removes what it has begun.
process.once('SIGINT', () => gone.abort())
process.once('message', async (work: BackupWork) => {
  setPriority(NICE)
  const answer = await perform(work).then(
    (result): BackupAnswer => ({ ok: true, result }),
    (error): BackupAnswer => ({ ok: false, message: explain(error) })
  )
  if (process.connected) process.send!(answer, () => process.disconnect())
})

async function perform(work: BackupWork) {
  if (work.kind === 'archive') return archive(work.settings, gone.signal)
  if (work.kind === 'create') return createBackup(work.settings, gone.signal)
  const log = { info() {}, warn: console.error, error: console.error }
  return drillBackup(
    { ...work.settings, backup: 'latest' },
    await ownMigrator(),
    temporaryCluster(work.dataDir, log),
    gone.signal
  )
}
