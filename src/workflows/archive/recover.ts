import { createHash } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { drizzle } from 'drizzle-orm/postgres-js'
import type { Sql } from 'postgres'
import * as schema from '../../../drizzle/schema.ts'
import { openStorage, type Storage } from '../../../integrations/storage/index.ts'
import { postgresTarget } from '../../../plugins/lib/postgres.ts'
import { openSession } from '../../../plugins/lib/postgres-session.ts'
import { AuditKeys } from '../../domain/audit/keys.ts'
import { AuditLog } from '../../domain/audit/log.ts'
import type { Db } from '../../domain/base/db.ts'
import { type Closing, closeRestored } from '../backups/closing.ts'
import { type Migrator, refuseWithoutKeys, ringOf } from '../backups/restore.ts'
import { opened } from '../backups/sealing.ts'
import { type BackupSettings, type KeyBundle, type Keyrings, keysOf } from '../backups/settings.ts'
import { COPY_PARAMETERS, sealedWith } from '../backups/tables.ts'
import { assertStored, openObject } from '../backups/verify.ts'
import { openFiles } from './base.ts'
import { listStreams, type RecoveryPath, recoveryPathTo } from './catalogue.ts'
import { BASE, baseObject, nameOfSegment, type SegmentMark, segmentObject } from './names.ts'
import { unpackTo } from './unpack.ts'

/** Segments fetched concurrently. */
const AT_ONCE = 4

/** The embedded database, as recovery uses it. */
export interface Recoverer {
  /** Returns an empty directory that no server uses; removes the remains of earlier attempts. */
  begin(): Promise<string>
  /** Recovers a database from the base backup in `data` below the directory and the log in `wal`. */
  recover(wal: string, to: Date | null): Promise<void>
  /** Runs the database while `use` needs it. */
  lend<Result>(use: (url: string) => Promise<Result>): Promise<Result>
  /** Moves the complete database to where servers find it. */
  finish(): Promise<void>
}

export interface RecoverySettings extends Pick<BackupSettings, 'storage' | 'identities'> {
  /** Null: the latest possible instant. */
  readonly to: Date | null
  /** This environment's keyrings; missing ones come from the archive. */
  readonly keyrings: Partial<Keyrings>
  /** The actor, for the audit log. */
  readonly by: string
}

export interface Recovered extends Closing {
  readonly base: string
  readonly segments: number
  readonly to: Date
  readonly keyrings: Keyrings
  readonly recovered: readonly (keyof Keyrings)[]
  readonly extras: KeyBundle | null
  /** Milliseconds. */
  readonly took: number
}

/**
 * Checks everything that a recovery would need.
 *
 * @param identities private age keys; without any, objects are compared as they are stored
 * @throws Error that names the segment or object that is missing or changed
 */
export async function verifyRecoveryPath(
  { storage: options, identities, to }: Pick<RecoverySettings, 'storage' | 'identities' | 'to'>,
  signal?: AbortSignal
): Promise<RecoveryPath> {
  const storage = openStorage(options)!
  const way = recoveryPathTo(await listStreams(storage, signal), to)
  const { stream, base, chain } = way
  const name = baseObject(stream.id, base.id, BASE)
  if (identities.length === 0) await assertStored(storage, name, base.data, signal)
  else for await (const _ of openFiles(base, openObject(storage, name, base.data, identities, signal)));
  await inTurns(chain.segments, async mark => {
    await readSegment(storage, stream.id, mark, identities, signal)
  })
  return way
}

/**
 * Recovers an embedded database from an archive, as of an instant. It moves to where a server would find it only after
 * everything was checked and closed.
 * @throws Error that says what is wrong
 */
export async function recoverTo(
  settings: RecoverySettings,
  recoverer: Recoverer,
  migrator: Migrator,
  signal?: AbortSignal
): Promise<Recovered> {
  const startedAt = performance.now()
  const storage = openStorage(settings.storage)!
  const { identities } = settings
  if (identities.length === 0)
    throw new Error('a private age key is needed to decrypt an archive: set BACKUP_IDENTITY_FILE to its file')
  const way = recoveryPathTo(await listStreams(storage, signal), settings.to)
  const { stream, base, chain } = way
  const bundle = await latestKeys(storage, stream.keys, identities, signal)
  const keyrings = { ...bundle?.keyrings, ...settings.keyrings } as Keyrings
  refuseWithoutKeys(base.keys, keyrings)

  const directory = await recoverer.begin()
  const content = openObject(storage, baseObject(stream.id, base.id, BASE), base.data, identities, signal)
  await unpackTo(join(directory, 'data'), openFiles(base, content))
  const wal = join(directory, 'wal')
  await mkdir(wal, { mode: 0o700 })
  await inTurns(chain.segments, async mark => {
    const segment = await readSegment(storage, stream.id, mark, identities, signal)
    await writeFile(join(wal, mark.segment), segment!, { mode: 0o600 })
  })
  await recoverer.recover(wal, settings.to)
  const to = settings.to ?? chain.end
  const closing = await recoverer.lend(url => close(url, migrator, keyrings, way, to, settings.by))
  await recoverer.finish()
  const recovered = (Object.keys(keyrings) as (keyof Keyrings)[]).filter(name => !settings.keyrings[name])
  const took = Math.round(performance.now() - startedAt)
  const segments = chain.segments.length
  return { ...closing, base: base.id, segments, to, keyrings, recovered, extras: bundle, took }
}

async function close(
  url: string,
  migrator: Migrator,
  keyrings: Keyrings,
  { base }: RecoveryPath,
  to: Date,
  by: string
): Promise<Closing> {
  const { sql } = openSession(postgresTarget(url), {
    applicationName: 'rhone-restore',
    connectTimeout: 10,
    prepare: false,
    parameters: COPY_PARAMETERS
  })
  try {
    await refuseUnknownMigrations(sql, migrator, base.release)
    await refuseNewerKeys(sql, keyrings)
    await migrator.migrate(url, null)
    const [jobs] = await sql`select to_regclass('pgboss.job') as "table"`
    const log = new AuditLog(new AuditKeys(ringOf(keyrings.SIGNING_KEYS)))
    await sql`begin`
    const db = drizzle(sql, { schema, casing: 'snake_case' }) as unknown as Db
    const { id, release, installation } = base
    const closing = await closeRestored(
      db,
      log,
      { id, release, installation, takenAt: to.toISOString() },
      by,
      jobs?.table != null
    )
    await sql`commit`
    return closing
  } finally {
    await sql.end({ timeout: 1 })
  }
}

async function refuseUnknownMigrations(sql: Sql, { known }: Migrator, release: string): Promise<void> {
  const applied = await sql<
    { tag: string; checksum: string }[]
  >`select tag, checksum from schema_migrations order by idx`
  for (const [index, { tag, checksum }] of applied.entries())
    if (known[index]?.tag !== tag || known[index]?.checksum !== checksum)
      throw new Error(
        `the database has migration ${tag}, which this version does not know: recover with a release later than ${release}`
      )
}

/** Data sealed after the base backup may need keys created after it. */
async function refuseNewerKeys(sql: Sql, { ENCRYPTION_KEYS, SIGNING_KEYS }: Keyrings): Promise<void> {
  const ring = keysOf(ENCRYPTION_KEYS)
  const needed = (await sealedWith(sql)).filter(id => !ring.has(id)).map(id => ({ id, print: null }))
  refuseWithoutKeys({ ENCRYPTION_KEYS: needed, SIGNING_KEYS: [] }, { ENCRYPTION_KEYS, SIGNING_KEYS })
}

/** Null when there are none; those of this environment may suffice. */
async function latestKeys(
  storage: Storage,
  names: readonly string[],
  identities: readonly string[],
  signal?: AbortSignal
): Promise<KeyBundle | null> {
  const name = names.at(-1)
  if (name === undefined) return null
  const content = opened(await storage.get(name, signal), identities)
  return JSON.parse(Buffer.concat(await Array.fromAsync(content)).toString())
}

/** @returns the segment's content; null without a private key */
async function readSegment(
  storage: Storage,
  stream: string,
  mark: SegmentMark,
  identities: readonly string[],
  signal?: AbortSignal
): Promise<Buffer | null> {
  const name = segmentObject(stream, nameOfSegment(mark))
  const stored = Buffer.concat((await Array.fromAsync(await storage.get(name, signal))) as Buffer[])
  if (digest(stored) !== mark.sealed)
    throw new Error(`segment ${mark.segment} of the archive does not match its checksum`)
  if (identities.length === 0) return null
  const plain = Buffer.concat(await Array.fromAsync(opened([stored], identities)))
  if (!digest(plain).startsWith(mark.plain)) throw new Error(`segment ${mark.segment} of the archive was altered`)
  return plain
}

const digest = (content: Buffer): string => createHash('sha256').update(content).digest('hex')

async function inTurns<Item>(items: readonly Item[], work: (item: Item) => Promise<void>): Promise<void> {
  const waiting = items.values()
  const worker = async () => {
    for (const item of waiting) await work(item)
  }
  await Promise.all(Array.from({ length: AT_ONCE }, worker))
}
