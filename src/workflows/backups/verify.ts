import { createHash } from 'node:crypto'
import type { Readable } from 'node:stream'
import type { Storage } from '../../../integrations/storage/index.ts'
import { readTar } from '../../../plugins/lib/tar.ts'
import { RowMeter } from './copy.ts'
import { type Descriptor, MANIFEST, type Manifest, type ObjectMark, parseManifest } from './manifest.ts'
import { DATA, KEYS, objectOf } from './names.ts'
import { opened } from './sealing.ts'
import type { KeyBundle } from './settings.ts'

interface Reading {
  /** Receives the rows as they are read. */
  readonly onRows?: (table: string, rows: Buffer) => Promise<void>
  readonly signal?: AbortSignal | undefined
}

type Described = Pick<Descriptor, 'id' | 'data' | 'keys'>

/**
 * Reads an object and compares it with what was written.
 *
 * @throws Error when it is missing or differs
 */
export async function assertStored(
  storage: Storage,
  name: string,
  mark: ObjectMark,
  signal?: AbortSignal
): Promise<void> {
  for await (const _ of named(name, checked(await storage.get(name, signal), mark)));
}

/**
 * Reads a whole backup, and compares the stored objects, the encrypted content and every table with what was written.
 * @param identities private age keys
 * @throws Error that names the object or table that is missing, incomplete or changed
 */
export async function openBackup(
  storage: Storage,
  backup: Described,
  identities: readonly string[],
  { onRows, signal }: Reading = {}
): Promise<Manifest> {
  const name = objectOf(backup.id, DATA)
  const meters = new Map<string, RowMeter>()
  let manifest: Manifest | undefined
  for await (const { path, content } of readTar(openObject(storage, name, backup.data, identities, signal))) {
    if (manifest !== undefined) throw new Error(`${name}: there is more after its manifest`)
    if (path === MANIFEST) {
      manifest = parseManifest((await wholeOf(content)).toString())
      continue
    }
    const [, table] = /^tables\/(.+)\/\d{6}$/.exec(path) ?? []
    if (table === undefined) throw new Error(`${name}: it holds "${path}", which no backup does`)
    const meter = meters.get(table) ?? new RowMeter()
    meters.set(table, meter)
    for await (const rows of content) {
      meter.add(rows)
      await onRows?.(table, rows)
    }
  }
  if (manifest === undefined) throw new Error(`${name}: it has no manifest`)
  compare(name, manifest, meters)
  if (manifest.id !== backup.id) throw new Error(`${name}: it is the data of backup ${manifest.id}`)
  return manifest
}

function compare(name: string, { tables }: Manifest, meters: ReadonlyMap<string, RowMeter>): void {
  const listed = new Set(tables.map(table => `${table.schema}.${table.name}`))
  for (const table of meters.keys()) if (!listed.has(table)) throw new Error(`${name}: its manifest lacks ${table}`)
  for (const table of tables) {
    const found = (meters.get(`${table.schema}.${table.name}`) ?? new RowMeter()).result()
    if (found.rows !== table.rows || found.sha256 !== table.sha256)
      throw new Error(`${name}: table ${table.name} is not as it was: ${found.rows} rows instead of ${table.rows}`)
  }
}

/** @throws Error when the object is missing, changed, or encrypted for other keys */
export async function openKeys(
  storage: Storage,
  backup: Described,
  identities: readonly string[],
  signal?: AbortSignal
): Promise<KeyBundle> {
  const content = openObject(storage, objectOf(backup.id, KEYS), backup.keys, identities, signal)
  return JSON.parse((await wholeOf(content)).toString())
}

/**
 * The plain content of an object.
 * @throws Error that names the object, when it is missing, changed, or encrypted for other keys
 */
export async function* openObject(
  storage: Storage,
  name: string,
  mark: ObjectMark,
  identities: readonly string[],
  signal?: AbortSignal
): AsyncGenerator<Buffer> {
  const stored = await storage.get(name, signal)
  yield* named(name, opened(checked(stored, mark), identities))
}

/** What is wrong with the content is wrong with the object of this name. */
async function* named(name: string, content: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  try {
    yield* content
  } catch (error) {
    throw new Error(`${name}: ${(error as Error).message}`, { cause: error })
  }
}

async function* checked(stored: Readable, { bytes, sha256 }: ObjectMark): AsyncGenerator<Buffer> {
  const hash = createHash('sha256')
  let length = 0
  for await (const chunk of stored) {
    hash.update(chunk as Buffer)
    length += (chunk as Buffer).length
    yield chunk as Buffer
  }
  if (length !== bytes) throw new Error(`it has ${length} bytes, and ${bytes} were written`)
  if (hash.digest('hex') !== sha256) throw new Error('it is not what was written')
}

const wholeOf = async (content: AsyncIterable<Buffer>) => Buffer.concat(await Array.fromAsync(content))
