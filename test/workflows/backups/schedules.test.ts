import { test } from 'node:test'
import { tryBackupSchedules } from '../../support/backup-schedules.ts'

test('whatever fails while backups are created, pruned and restored, none is lost and no database is half restored', async t => {
  await tryBackupSchedules(t, 50, 15)
})
