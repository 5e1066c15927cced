import assert from 'node:assert/strict'
import { rename, rm, writeFile } from 'node:fs/promises'
import { test } from 'node:test'
import { drizzle } from 'drizzle-orm/postgres-js'
import Fastify from 'fastify'
import archivePlugin from '../../src/workflows/archive/index.ts'
import { archive } from '../../src/workflows/archive/ship.ts'
import { bytesWaiting } from '../../src/workflows/archive/state.ts'
import { archivedDatabase } from '../support/archived.ts'
import { eventually } from '../support/eventually.ts'
import { megabytes } from '../support/megabytes.ts'
import { repeatedly } from '../support/repeatedly.ts'

const MIB = 2 ** 20
const SEGMENT = 16 * MIB

test('while the storage of the archive is down, writes continue, the disk does not fill up, and a base backup follows', async t => {
  const limit = 96 * MIB
  const { sql, settings } = await archivedDatabase(t, { limit })
  const { directory } = settings.storage as { directory: string }
  const app = Fastify()
  t.after(() => app.close())
  app.decorate('db', drizzle(sql) as never)
  await app.register(archivePlugin, {
    run: signal => archive(settings, signal),
    directory: settings.directory,
    limit,
    audience: { webhookUrl: null, mail: null }
  })
  await app.ready()
  const [chore] = app.archive.chores
  const read = async (name: string) => Number(await app.archive.readings.find(each => each.name === name)!.read())
  const looking = repeatedly(t.signal, () => chore!.run(t.signal), 50)
  await eventually(
    () => read('rhone_archive_recoverable'),
    value => value === 1,
    30_000
  )
  const before = await read('rhone_archive_base_timestamp_seconds')

  await rename(directory, `${directory}-away`)
  await writeFile(directory, 'a disk that is not mounted')
  await sql`create table filler (content text)`
  await sql`alter table filler alter content set storage external`
  let most = 0
  for (let written = 0; written < megabytes(300); written += 10) {
    await sql`insert into filler select string_agg(md5(random()::text || m), '')
      from generate_series(1, 1250) n, generate_series(1, 250) m group by n`
    most = Math.max(most, await bytesWaiting(settings.directory))
  }
  // There may also be segments that were added since the last check.
  assert.ok(most > SEGMENT && most < limit + 4 * SEGMENT, `${most / MIB} MiB`)
  await eventually(
    () => read('rhone_archive_recoverable'),
    value => value === 0,
    30_000
  )
  const [wal] = await sql`select sum(size)::float8 as bytes from pg_ls_waldir()`
  assert.ok(wal!.bytes < 900 * MIB, `${wal!.bytes / MIB} MiB`)

  await sql`drop table filler`
  await rm(directory)
  await rename(`${directory}-away`, directory)
  await eventually(
    () => read('rhone_archive_recoverable'),
    value => value === 1,
    180_000
  )
  assert.ok((await read('rhone_archive_base_timestamp_seconds')) > before)
  await eventually(
    () => read('rhone_archive_delay_seconds'),
    delay => delay < 60,
    30_000
  )
  await looking.stop()
})
