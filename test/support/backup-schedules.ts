import assert from 'node:assert/strict'
import { mock } from 'node:test'
import { openStorage } from '../../integrations/storage/index.ts'
import { migrateDatabase } from '../../src/wiring/migrations.ts'
import { ownMigrator } from '../../src/wiring/migrator.ts'
import { isVerified, listBackups } from '../../src/workflows/backups/catalogue.ts'
import { createBackup } from '../../src/workflows/backups/create.ts'
import { restoreBackup } from '../../src/workflows/backups/restore.ts'
import { LEAST_VERIFIED, pruneBackups } from '../../src/workflows/backups/retention.ts'
import { openBackup } from '../../src/workflows/backups/verify.ts'
import { FakeS3 } from '../fakes/s3/server.ts'
import { backupSettings, connectTo } from './backups.ts'
import { emptyDatabase, type Scope } from './database.ts'

const DAY = 86_400_000
const FAULTS = ['none', 'crash', 'full', 'truncated', 'refused', 'late error'] as const
const WORK = ['create', 'create', 'create', 'prune', 'prune', 'restore'] as const

/** Pseudorandom numbers from 0 to 1 from a seed. */
function randomFrom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/**
 * Creates, prunes and restores backups in a random order, each with a random fault at a random request and a clock that
 * jumps. After each step, checks that no verified backup is missing that had to stay, that each one opens, and that no
 * database with a partial backup is open.
 */
export async function tryBackupSchedules(scope: Scope, count: number, seed: number): Promise<void> {
  const random = randomFrom(seed)
  const pick = <Value>(values: readonly Value[]): Value => values[Math.floor(random() * values.length)]!
  const s3 = await new FakeS3().listen()
  scope.after(() => s3.close())
  const place = { bucket: s3.bucket, prefix: 'x', endpoint: s3.url, region: 'x', backoff: 0, ...s3.credentials }
  const settings = await backupSettings(scope, { storage: { s3: place } })
  const storage = openStorage(settings.storage)!
  const sql = connectTo(scope, settings.databaseUrl)
  const migrator = await ownMigrator()
  const verified = async () => (await listBackups(storage)).filter(isVerified)
  const first = await createBackup(settings)

  for (let n = 0; n < count; n++) {
    const work = pick(WORK)
    const fault = pick(FAULTS)
    const jump = Math.round((random() - 0.5) * 4 * DAY)
    const what = `seed ${seed}, schedule ${n}: ${work} with ${fault}, clock ${jump} ms`
    const before = await verified()
    const at = s3.requests.length + 1 + Math.floor(random() * (work === 'prune' ? 20 : 12))
    arm(s3, fault, at)
    if (random() < 0.3) mock.timers.enable({ apis: ['Date'], now: Date.now() + jump })
    const target = work === 'restore' ? await emptyDatabase(scope) : ''
    let failure: Error | undefined
    try {
      if (work === 'create') {
        await sql`insert into users (username) values (${`user ${n}`})`
        await createBackup(settings)
      } else if (work === 'prune') {
        await pruneBackups(storage, first.installation, { days: 1, weeks: 0, months: 0 })
      } else {
        await restoreBackup({ ...settings, backup: before[0]!.id, databaseUrl: target, by: 'test' }, migrator)
      }
    } catch (error) {
      failure = error as Error
    }
    mock.timers.reset()
    s3.faults.length = 0
    s3.isDown = false

    const after = await verified()
    const least = work === 'prune' ? Math.min(before.length, LEAST_VERIFIED) : before.length
    assert.ok(after.length >= least, `${what}: ${after.length} verified are left of ${before.length}`)
    if (work === 'create' && failure === undefined) assert.equal(after.length, before.length + 1, what)
    for (const { descriptor, id } of after)
      if (!before.some(known => known.id === id)) await openBackup(storage, descriptor, settings.identities)
    if (work === 'restore') await checkRestored(scope, target, failure, what)
  }
}

/** A database is complete, or no server starts on it, or it is as empty as before. */
async function checkRestored(scope: Scope, url: string, failure: Error | undefined, what: string): Promise<void> {
  const sql = connectTo(scope, url)
  if (failure === undefined) {
    const [row] = await sql`select enabled from maintenance_state`
    assert.equal(row?.enabled, true, what)
    return
  }
  const [tables] =
    await sql`select count(*)::integer as count from pg_class where relnamespace = 'public'::regnamespace`
  if (tables!.count > 0) await assert.rejects(migrateDatabase(url), /was cut off/, `${what}: ${failure.message}`)
}

function arm(s3: FakeS3, fault: (typeof FAULTS)[number], at: number): void {
  const isTime = () => s3.requests.length >= at
  if (fault === 'crash') {
    s3.faults.push({
      matches: () => {
        // From here on, nothing of this process arrives: it cannot clean up either.
        if (isTime()) s3.isDown = true
        return false
      },
      does: 500
    })
  } else if (fault === 'full') {
    for (let attempt = 0; attempt < 4; attempt++)
      s3.faults.push({ matches: ({ method }) => method === 'PUT' && isTime(), does: 507 })
  } else if (fault === 'refused') s3.faults.push({ matches: isTime, does: 403 })
  else if (fault !== 'none')
    s3.faults.push({
      matches: ({ method }) => (method === 'PUT' || method === 'POST') && isTime(),
      does: fault === 'truncated' ? 'truncate' : 'late error'
    })
}
