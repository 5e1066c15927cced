import { test } from 'node:test'
import { tryBackupSchedules } from '../support/backup-schedules.ts'

for (let run = 0; run < 20; run++)
  test(`no backup is lost in fifty random schedules of failures, run ${run}`, async t => {
    await tryBackupSchedules(t, 50, 1_000 + run)
  })
