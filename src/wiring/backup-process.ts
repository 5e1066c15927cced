import { setPriority } from 'node:os'
import { explain } from '../kernel/explain.ts'
import type { BackupAnswer, BackupWork } from './backup-work.ts'

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

/** Loads only what the work needs: all of it would take longer, and more memory, than a small backup. */
async function perform(work: BackupWork) {
  if (work.kind === 'archive') {
    const { archive } = await import('../workflows/archive/ship.ts')
    return archive(work.settings, gone.signal)
  }
  if (work.kind === 'create') {
    const { createBackup } = await import('../workflows/backups/create.ts')
    return createBackup(work.settings, gone.signal)
  }
  const { drillBackup } = await import('../workflows/backups/drill.ts')
  const { ownMigrator } = await import('./migrator.ts')
  const { temporaryCluster } = await import('./throw-away-cluster.ts')
  const log = { info() {}, warn: console.error, error: console.error }
  return drillBackup(
    { ...work.settings, backup: 'latest' },
    await ownMigrator(),
    temporaryCluster(work.dataDir, log),
    gone.signal
  )
}
