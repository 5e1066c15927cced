import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { chmod, readFile, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { directoryFor } from '../support/backups.ts'

const scripts = resolve(import.meta.dirname, '../../scripts')
const run = promisify(execFile)

test('the cron schedule is 02:00 daily and 03:00 on Sundays, in UTC, and repeated setup adds no duplicates', async t => {
  const { stdout } = await run(join(scripts, 'setup-cron.sh'), ['--dry-run'])
  const lines = stdout.trim().split('\n')
  assert.equal(lines.length, 3)
  assert.match(lines[0]!, /^CRON_TZ=UTC/)
  assert.match(lines[1]!, /^0 2 \* \* \* .*\/scripts\/backup-automated\.sh' # rhone$/)
  assert.match(lines[2]!, /^0 3 \* \* 0 .*\/scripts\/restore-test\.sh' # rhone$/)

  const directory = await directoryFor(t)
  const table = join(directory, 'table')
  await writeFile(table, '5 5 * * * /usr/bin/other\n')
  await writeFile(
    join(directory, 'crontab'),
    `#!/bin/sh\n[ "$1" = -l ] && exec cat "${table}"\ncat > "${table}.new" && mv "${table}.new" "${table}"\n`
  )
  await chmod(join(directory, 'crontab'), 0o755)
  await writeFile(join(directory, 'env'), '')
  const env = { PATH: `${directory}:${process.env.PATH}` }
  for (let times = 0; times < 2; times++) await run(join(scripts, 'setup-cron.sh'), [join(directory, 'env')], { env })
  assert.equal(
    await readFile(table, 'utf8'),
    `5 5 * * * /usr/bin/other\n${stdout.replaceAll('/etc/rhone/backup.env', join(directory, 'env'))}`
  )
  await assert.rejects(run(join(scripts, 'setup-cron.sh'), [join(directory, 'none')], { env }), /none cannot be read/)
})

test('the scripts exit with 1 if their command does', async t => {
  const env = { PATH: process.env.PATH, DATA_DIR: await directoryFor(t), DATABASE_URL: 'postgres://x@127.0.0.1:1/x' }
  const names = ['backup.sh', 'backup-automated.sh', 'restore-test.sh']
  await Promise.all(names.map(name => assert.rejects(run(join(scripts, name), { env }), { code: 1 }, name)))
})
