import { createHash } from 'node:crypto'
import { PassThrough, type Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { Storage } from '../../../integrations/storage/index.ts'
import { RowMeter } from './copy.ts'
import { type Descriptor, MANIFEST, type Manifest, type ObjectMark, parseManifest } from './manifest.ts'
import { DATA, KEYS, objectOf } from './names.ts'
import { opened } from './sealing.ts'
import type { KeyBundle } from './settings.ts'
import { unpacked } from './tar.ts'

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
  for await (const _ of checked(name, await storage.get(name, signal), mark));
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
  for await (const { name: member, content } of unpacked(
    await openObject(storage, name, backup.data, identities, signal)
  )) {
    if (manifest !== undefined) throw new Error(`${name}: there is more after its manifest`)
    if (member === MANIFEST) {
      manifest = parseManifest(content.toString())
      continue
    }
    const [, table] = /^tables\/(.+)\/\d{6}$/.exec(member) ?? []
    if (table === undefined) throw new Error(`${name}: it holds "${member}", which no backup does`)
    const meter = meters.get(table) ?? new RowMeter()
    meters.set(table, meter)
    meter.add(content)
    await onRows?.(table, content)
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
  const stream = await openObject(storage, objectOf(backup.id, KEYS), backup.keys, identities, signal)
  return JSON.parse(Buffer.concat((await Array.fromAsync(stream)) as Buffer[]).toString())
}

export async function openObject(
  storage: Storage,
  name: string,
  mark: ObjectMark,
  identities: readonly string[],
  signal?: AbortSignal
): Promise<AsyncIterable<Buffer>> {
  const stored = await storage.get(name, signal)
  const passed = new PassThrough({ highWaterMark: 256 * 1024 })
  // age detects a wrong byte first, and the hash at the end; either breaks the stream.
  pipeline(checked(name, stored, mark), passed).catch(error => passed.destroy(error))
  try {
    return await opened(passed, identities)
  } catch (error) {
    stored.destroy()
    throw new Error(`${name}: ${(error as Error).message}`, { cause: error })
  }
}

async function* checked(name: string, stored: Readable, { bytes, sha256 }: ObjectMark): AsyncGenerator<Buffer> {
  const hash = createHash('sha256')
  let length = 0
  for await (const chunk of stored) {
    hash.update(chunk as Buffer)
    length += (chunk as Buffer).length
    yield chunk as Buffer
  }
  if (length !== bytes) throw new Error(`${name}: it has ${length} bytes, and ${bytes} were written`)
  if (hash.digest('hex') !== sha256) throw new Error(`${name}: it is not what was written`)
}
