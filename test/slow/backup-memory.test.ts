import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { type TestContext, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { createApart } from '../../src/wiring/backup-runner.ts'
import { DATA } from '../../src/workflows/backups/names.ts'
import { FakeS3 } from '../fakes/s3/server.ts'
import { backupSettings, connectTo } from '../support/backups.ts'
import { megabytes } from '../support/megabytes.ts'
import { repeatedly } from '../support/repeatedly.ts'

const MB = 1e6
/** Maximum resident bytes of the backup process. */
const MOST = 256 * MB
/** Maximum difference between the peaks of two backups, regardless of the amount of data. */
const SLACK = 32 * MB
/** Minimum megabytes per second of CPU time, reading back included. */
const LEAST_SPEED = 20
/** Clock ticks per second of /proc/<pid>/stat. */
const TICKS = 100
/** Milliseconds that the storage takes for each part. */
const SLOWNESS = 100

interface Cost {
  /** Peak of resident bytes. */
  readonly peak: number
  /** Seconds. */
  readonly cpu: number
}

/** The cost of a process so far; undefined once it has ended. */
async function costOf(pid: string): Promise<Cost | undefined> {
  const [status, stat] = await Promise.all(
    ['status', 'stat'].map(file => readFile(`/proc/${pid}/${file}`, 'utf8').catch(() => ''))
  )
  const [, kilobytes] = /^VmHWM:\s+(\d+) kB$/m.exec(status!) ?? []
  if (kilobytes === undefined) return undefined
  const fields = stat!.split(') ')[1]!.split(' ')
  return { peak: Number(kilobytes) * 1024, cpu: (Number(fields[11]) + Number(fields[12])) / TICKS }
}

const children = async () =>
  (await readFile(`/proc/${process.pid}/task/${process.pid}/children`, 'utf8')).split(' ').filter(Boolean)

/** Creates a backup of a database with this much data, and monitors the process. */
async function backupOf(t: TestContext, size: number): Promise<Cost> {
  const s3 = await new FakeS3().listen()
  t.after(() => s3.close())
  s3.waitsFor = key => (key.endsWith(DATA) ? delay(SLOWNESS) : undefined)
  const place = { bucket: s3.bucket, prefix: '', endpoint: s3.url, region: 'x', ...s3.credentials }
  const settings = await backupSettings(t, { storage: { s3: place } })
  // It compresses by only half, so that the transfer is large, too.
  await connectTo(t, settings.databaseUrl)`create table filler as
    select n, md5(random()::text) || repeat(md5(n::text), 15) || md5(random()::text) as text
    from generate_series(1, ${Math.round((size * MB) / 552)}) n`
  const others = new Set(await children())
  let cost: Cost = { peak: 0, cpu: 0 }
  const watching = repeatedly(t.signal, async () => {
    for (const pid of await children()) if (!others.has(pid)) cost = (await costOf(pid)) ?? cost
  })
  const { checked } = await createApart(settings, t.signal)
  assert.equal(checked, 'opened')
  await watching.stop()
  return cost
}

test('a backup needs constant memory, even with slow storage, and little CPU time', {
  skip: process.platform === 'linux' ? false : 'it reads /proc'
}, async t => {
  // A quarter is enough for the peak between two collections of garbage to be reached.
  const size = megabytes(400)
  const small = await backupOf(t, size / 4)
  const large = await backupOf(t, size)
  const what = `${JSON.stringify({ small, large })} for ${size / 4} and ${size} MB`
  t.diagnostic(what)
  assert.ok(small.peak > 0 && large.peak <= MOST, what)
  assert.ok(large.peak - small.peak <= SLACK, what)
  assert.ok(size / large.cpu >= LEAST_SPEED, what)
})
