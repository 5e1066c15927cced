import assert from 'node:assert/strict'
import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { identify, isRunning, signalProcess, waitForExit } from '../../../plugins/lib/processes.ts'
import { main } from '../../../src/cli/main.ts'
import {
  type EmbeddedPostgres,
  findEmbeddedPostgres,
  startEmbeddedPostgres
} from '../../../src/embedded-postgres/index.ts'
import { bytesWaiting } from '../../../src/workflows/archive/state.ts'
import { recipientOf } from '../../../src/workflows/backups/sealing.ts'
import { type Archived, archivedDatabase } from '../../support/archived.ts'
import { connectTo, directoryFor } from '../../support/backups.ts'
import { eventually } from '../../support/eventually.ts'

const silent = { info() {}, warn() {}, error() {} }

/** `rhone ...` on a bare machine that has the place of the archive and the private key. */
async function bareMachine(t: TestContext, { settings }: Archived) {
  const parent = await mkdtemp(join(tmpdir(), 'rhone-bare-'))
  const DATA_DIR = join(parent, 'new')
  let database: EmbeddedPostgres | undefined
  t.after(async () => {
    await database?.stop()
    await rm(parent, { recursive: true, force: true })
  })
  const key = join(await directoryFor(t), 'key.txt')
  await writeFile(key, `${settings.identities[0]}\n`)
  const environment = {
    LOG_LEVEL: 'silent',
    DATA_DIR,
    BACKUP_URL: `file://${(settings.storage as { directory: string }).directory}`,
    BACKUP_RECIPIENTS: await recipientOf(settings.identities[0]!),
    BACKUP_IDENTITY_FILE: key
  }
  return {
    DATA_DIR,
    async rhone(...args: string[]) {
      let out = ''
      let said = ''
      const code = await main(args, {
        stdout: text => {
          out += text
        },
        stderr: text => {
          said += text
        },
        environment: () => environment
      })
      return { code, out, said }
    },
    /** A connection to the database of the bare machine. */
    async open() {
      database = await startEmbeddedPostgres({ dataDir: join(DATA_DIR, 'postgres'), log: silent, durable: false })
      return connectTo(t, database.url)
    }
  }
}

const segmentsIn = async ({ settings }: Archived, stream: string) => {
  const folder = join((settings.storage as { directory: string }).directory, 'archive', stream, 'wal')
  return { folder, files: (await readdir(folder)).sort() }
}

test('a database comes back as it was one instant before a table was dropped, closed; a missing segment is named before', async t => {
  const archived = await archivedDatabase(t)
  const { sql } = archived
  await sql`insert into users (username, is_admin) values ('ada', true)`
  await archived.store()
  await sql`insert into teams (name, slug) values ('A', 'a')`
  await archived.finishSegment()
  const before = await archived.instant()
  await sql`insert into teams (name, slug) values ('B', 'b')`
  await sql`drop table env_vars cascade`
  await archived.finishSegment()
  await sql`insert into teams (name, slug) values ('C', 'c')`
  await archived.finishSegment()
  const { stream } = await archived.store()
  assert.equal(await bytesWaiting(archived.settings.directory), 0)

  const machine = await bareMachine(t, archived)
  const to = before.toISOString()
  const { folder, files } = await segmentsIn(archived, stream!)
  const gone = files[0]!
  await rename(join(folder, gone), `${folder}-${gone}`)
  for (const command of ['verify', 'restore']) {
    const refused = await machine.rhone('backup', command, '--to', to)
    assert.deepEqual([refused.code, refused.out], [1, ''])
    assert.match(refused.said, new RegExp(`segment ${gone.slice(0, 24)} is missing from the archive`))
  }
  await assert.rejects(readdir(join(machine.DATA_DIR, 'postgres.restoring')), { code: 'ENOENT' })
  await rename(`${folder}-${gone}`, join(folder, gone))

  const verified = await machine.rhone('backup', 'verify', '--to', to)
  assert.equal(verified.code, 0, verified.said)
  const restored = await machine.rhone('backup', 'restore', '--to', to, '--json')
  assert.equal(restored.code, 0, restored.said)
  assert.equal(JSON.parse(restored.out).to, to)
  const audit = await machine.rhone('audit', 'verify')
  assert.equal(audit.code, 0, audit.said)
  const back = await machine.open()
  assert.deepEqual(
    (await back`select slug from teams`).map(({ slug }) => slug),
    ['a']
  )
  assert.equal((await back`select from env_vars`).length, 0)
  const [closed] = await back`select enabled from maintenance_state`
  assert.equal(closed!.enabled, true)
  const [row] = await back`select details from audit_logs where action = 'restore'`
  assert.equal(row!.details.from, to)
  const again = await machine.rhone('backup', 'restore', '--to', to)
  assert.match(again.said, /there is a database in .*: move it away/)
})

test('what was committed before a crash is in the archive after the next start; latest means all of it', async t => {
  const archived = await archivedDatabase(t)
  await archived.store()
  await archived.sql`insert into teams (name, slug) values ('A', 'a')`
  const data = join(archived.dataDir, 'postgres', 'data')
  const postmaster = identify(Number.parseInt(await readFile(join(data, 'postmaster.pid'), 'utf8'), 10))!
  signalProcess(postmaster, 'SIGKILL')
  await waitForExit(postmaster, 10_000)
  await eventually(
    () => findEmbeddedPostgres(join(archived.dataDir, 'postgres')),
    found => found !== null
  )
  await eventually(() =>
    archived.sql`select 1`.then(
      () => true,
      () => false
    )
  )
  await archived.finishSegment()
  await archived.store()
  assert.equal(isRunning(postmaster), false)

  const machine = await bareMachine(t, archived)
  const restored = await machine.rhone('backup', 'restore', '--to', 'latest')
  assert.equal(restored.code, 0, restored.said)
  assert.equal((await (await machine.open())`select from teams where slug = 'a'`).length, 1)
})

test('an archive that cannot be stored waits within its limit, breaks off beyond it, and begins anew', async t => {
  const limit = 40 * 2 ** 20
  const archived = await archivedDatabase(t, { limit })
  const { directory } = archived.settings.storage as { directory: string }
  const first = await archived.store()
  await archived.sql`create table filler (content text)`
  await archived.sql`alter table filler alter content set storage external`
  const fill = () => archived.sql`insert into filler select string_agg(md5(random()::text), '')
    from generate_series(1, 1800) n, generate_series(1, 250) m group by n`
  await rename(directory, `${directory}-away`)
  await writeFile(directory, 'a disk that is not mounted')

  await fill()
  await archived.finishSegment()
  await assert.rejects(archived.store())
  const waiting = await bytesWaiting(archived.settings.directory)
  assert.ok(waiting > 0 && waiting < limit, String(waiting))
  for (let n = 0; n < 3; n++) await fill()
  await archived.finishSegment()
  await archived.store()
  assert.equal(await bytesWaiting(archived.settings.directory), 0)
  await assert.rejects(archived.store())

  await rm(directory)
  await rename(`${directory}-away`, directory)
  const second = await archived.store()
  assert.notEqual(second.stream, first.stream)
  assert.equal(second.broken, null)
  await archived.finishSegment()
  await archived.store()
  const machine = await bareMachine(t, archived)
  const verified = await machine.rhone('backup', 'verify', '--to', 'latest', '--json')
  assert.equal(JSON.parse(verified.out).base, second.base!.id)
})

test('a segment that never came begins a new archive, rather than one with a gap', async t => {
  const archived = await archivedDatabase(t)
  const first = await archived.store()
  for (const slug of ['a', 'b']) {
    await archived.sql`insert into teams (name, slug) values (${slug}, ${slug})`
    await archived.finishSegment()
  }
  const wal = join(archived.settings.directory, 'wal')
  await rm(join(wal, first.next!))
  const broken = await archived.store()
  assert.match(broken.broken!.why, new RegExp(`segment ${first.next} was never archived`))
  const next = await archived.store()
  assert.notEqual(next.stream, first.stream)
  await mkdir(wal, { recursive: true })
})
