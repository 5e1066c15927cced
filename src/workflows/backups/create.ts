import { randomBytes } from 'node:crypto'
import type { Sql } from 'postgres'
import { openStorage, type Storage, StorageError } from '../../../integrations/storage/index.ts'
import { postgresTarget } from '../../../plugins/lib/postgres.ts'
import { openSession, type Session } from '../../../plugins/lib/postgres-session.ts'
import { padding, TAR_END, tarHeader } from '../../../plugins/lib/tar.ts'
import { copyOut, RowMeter } from './copy.ts'
import { identityOf } from './identity.ts'
import {
  type Descriptor,
  FORMAT,
  type KeyMark,
  MANIFEST,
  type Manifest,
  type NeededKeys,
  printOf,
  type TableManifest
} from './manifest.ts'
import { BEGUN, DATA, DESCRIPTOR, KEYS, objectOf } from './names.ts'
import { sealed } from './sealing.ts'
import { type BackupSettings, type KeyBundle, keysOf } from './settings.ts'
import { COPY_PARAMETERS, findSequences, findTables, idsOf, nameOf, sealedWith } from './tables.ts'
import { assertStored, openBackup } from './verify.ts'

/** Bytes per member of the archive. */
const MEMBER_SIZE = 4 * 1024 * 1024
const CONNECT_TIMEOUT = 10

/**
 * Makes a backup: the data as of one instant, encrypted; the keyrings, encrypted separately; and, once both have been
 * read back unchanged, the descriptor that makes the backup count. The remains of a failure are removed, as far as the
 * storage allows.
 * @throws Error that says what is wrong; there is no new backup then
 */
export async function createBackup(settings: BackupSettings, signal?: AbortSignal): Promise<Descriptor> {
  const storage = openStorage(settings.storage)!
  const session = openSession(postgresTarget(settings.databaseUrl), {
    applicationName: 'rhone-backup',
    connectTimeout: CONNECT_TIMEOUT,
    prepare: false,
    parameters: COPY_PARAMETERS
  })
  const stop = () => session.destroy()
  signal?.addEventListener('abort', stop)
  try {
    const installation = await identityOf(session.sql)
    await session.sql`begin transaction isolation level repeatable read read only`
    const [clock] = await session.sql`select to_char(now(), 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as now`
    const takenAt: string = clock!.now
    const id = idOf(takenAt)
    await write(storage, objectOf(id, BEGUN), { format: FORMAT, installation, takenAt })
    try {
      return await store(storage, session, settings, { id, installation, takenAt }, signal)
    } catch (error) {
      await removeAll(storage, id)
      throw error
    }
  } finally {
    signal?.removeEventListener('abort', stop)
    await session.sql.end({ timeout: 1 })
  }
}

type Origin = Pick<Manifest, 'id' | 'installation' | 'takenAt'>

async function store(
  storage: Storage,
  session: Session,
  settings: BackupSettings,
  origin: Origin,
  signal?: AbortSignal
): Promise<Descriptor> {
  const { id } = origin
  const dump = new Dump(session, settings, origin)
  const data = await storage.put(objectOf(id, DATA), sealed(dump.archive(), settings.recipients), signal)
  const manifest = dump.manifest
  const bundle: KeyBundle = { keyrings: settings.keyrings, ...settings.extras }
  const sealedKeys = sealed([Buffer.from(JSON.stringify(bundle))], settings.keyRecipients)
  const keys = await storage.put(objectOf(id, KEYS), sealedKeys, signal)
  const descriptor: Omit<Descriptor, 'checked'> = {
    ...origin,
    format: FORMAT,
    finishedAt: new Date().toISOString(),
    release: settings.release,
    migration: manifest.migrations.at(-1)?.tag ?? null,
    rows: manifest.tables.reduce((sum, { rows }) => sum + rows, 0),
    data,
    keys,
    recipients: settings.recipients,
    keyIds: idsOf(manifest.keys)
  }
  const checked = await readBack(storage, descriptor, settings.identities, signal)
  const whole: Descriptor = { ...descriptor, checked }
  await write(storage, objectOf(id, DESCRIPTOR), whole)
  return whole
}

/** With a private key, opens the backup down to its rows. */
async function readBack(
  storage: Storage,
  descriptor: Omit<Descriptor, 'checked'>,
  identities: readonly string[],
  signal?: AbortSignal
): Promise<Descriptor['checked']> {
  await assertStored(storage, objectOf(descriptor.id, KEYS), descriptor.keys, signal)
  if (identities.length === 0) {
    await assertStored(storage, objectOf(descriptor.id, DATA), descriptor.data, signal)
    return 'read back'
  }
  await openBackup(storage, descriptor, identities, { signal })
  return 'opened'
}

/** Reads the database, and describes what it has read at the end. */
class Dump {
  readonly #session: Session
  readonly #settings: BackupSettings
  readonly #origin: Origin
  #manifest: Manifest | undefined

  constructor(session: Session, settings: BackupSettings, origin: Origin) {
    this.#session = session
    this.#settings = settings
    this.#origin = origin
  }

  get manifest(): Manifest {
    if (this.#manifest === undefined) throw new Error('the backup is not complete yet')
    return this.#manifest
  }

  /** A chunk's memory is used again for the next one. */
  async *archive(): AsyncGenerator<Buffer> {
    const { sql } = this.#session
    const found = await findTables(sql)
    if (found.length === 0) throw new Error('the database has no tables: start a server on it, or run "rhone migrate"')
    await sql.unsafe(`lock table ${found.map(nameOf).join(', ')} in access share mode`)
    const facts = await factsOf(sql, this.#settings)
    const tables: TableManifest[] = []
    const block = Buffer.allocUnsafeSlow(MEMBER_SIZE)
    for (const table of found) {
      const meter = new RowMeter()
      let part = 0
      for await (const rows of copyOut(this.#session, table, block)) {
        meter.add(rows)
        yield* member(`tables/${table.schema}.${table.name}/${String(++part).padStart(6, '0')}`, rows)
      }
      tables.push({ ...table, ...meter.result() })
    }
    const sequences = await findSequences(sql)
    await sql`commit`
    this.#manifest = {
      format: FORMAT,
      ...this.#origin,
      release: this.#settings.release,
      ...facts,
      tables,
      sequences
    }
    yield* member(MANIFEST, Buffer.from(JSON.stringify(this.#manifest, null, 2)))
    yield TAR_END
  }
}

function* member(path: string, content: Buffer): Generator<Buffer> {
  yield tarHeader({ path, type: 'file', size: content.length, isExecutable: false })
  yield content
  yield padding(content.length)
}

async function factsOf(sql: Sql, { keyrings }: BackupSettings) {
  const [version] = await sql`select current_setting('server_version') as postgres`
  const migrations = await sql<{ tag: string; checksum: string }[]>`
    select tag, checksum from schema_migrations order by idx`
  const [hasJobs] = await sql`select to_regclass('pgboss.version') as "table"`
  const [jobs] = hasJobs?.table == null ? [] : await sql`select version from pgboss.version`
  const partitions = await sql<{ month: string }[]>`
    select substring(c.relname from '^audit_logs_(\\d{4}_\\d{2})$') as month
    from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent = to_regclass('public.audit_logs') order by 1`
  return {
    postgres: String(version!.postgres),
    migrations: migrations.map(({ tag, checksum }) => ({ tag, checksum })),
    jobs: (jobs?.version as number | undefined) ?? null,
    auditMonths: partitions.map(({ month }) => month).filter(month => month !== null),
    keys: await neededKeys(sql, keyrings)
  }
}

/** @throws Error when something is sealed with a key that this server lacks: the backup could never be opened */
export async function neededKeys(sql: Sql, keyrings: BackupSettings['keyrings']): Promise<NeededKeys> {
  const encryption = keysOf(keyrings.ENCRYPTION_KEYS)
  const mark = (ring: ReadonlyMap<string, Buffer>, id: string): KeyMark => {
    const key = ring.get(id)
    return { id, print: key === undefined ? null : printOf(id, key) }
  }
  const signing = keysOf(keyrings.SIGNING_KEYS)
  return {
    ENCRYPTION_KEYS: (await sealedWith(sql)).map(id => mark(encryption, id)),
    SIGNING_KEYS: [...signing.keys()].map(id => mark(signing, id))
  }
}

/** Sortable by time. The random part distinguishes two backups of the same second. */
export function idOf(takenAt: string): string {
  return `${takenAt.replace(/[-:]|\.\d+/g, '')}-${randomBytes(4).toString('hex')}`
}

async function write(storage: Storage, name: string, value: object): Promise<void> {
  await storage.put(name, [Buffer.from(`${JSON.stringify(value, null, 2)}\n`)])
}

/** Without the descriptor none of this counts, and the credentials may have no right to delete. */
async function removeAll(storage: Storage, id: string): Promise<void> {
  for (const part of [DATA, KEYS, BEGUN])
    await storage.remove(objectOf(id, part)).catch(error => {
      if (!(error instanceof StorageError)) throw error
    })
}
