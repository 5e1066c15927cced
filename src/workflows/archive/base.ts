import { createHash } from 'node:crypto'
import { PassThrough, type Readable } from 'node:stream'
import { openStorage } from '../../../integrations/storage/index.ts'
import { postgresTarget } from '../../../plugins/lib/postgres.ts'
import { openSession, type Session } from '../../../plugins/lib/postgres-session.ts'
import { idOf, neededKeys } from '../backups/create.ts'
import { identityOf } from '../backups/identity.ts'
import type { ObjectMark } from '../backups/manifest.ts'
import { sealed } from '../backups/sealing.ts'
import { assertStored, openObject } from '../backups/verify.ts'
import { type BaseDescriptor, FORMAT } from './catalogue.ts'
import { BASE, baseObject, DESCRIPTOR, streamObject } from './names.ts'
import type { ArchiveSettings } from './settings.ts'

const CONNECT_TIMEOUT = 10
/** Bytes that hold the first file of a base backup, which says where its log begins. */
const HEAD = 4_096

/**
 * Copies the files of the running database, encrypted, into a stream, which it begins if there is none. The base backup
 * counts once it has been read back.
 * @param into the stream; null: a new one
 * @param onBegun called once it is known which segment it needs first
 * @throws Error that says what is wrong; there is no new base backup then
 */
export async function makeBase(
  settings: ArchiveSettings,
  into: string | null,
  signal?: AbortSignal,
  onBegun?: (begun: Pick<BaseDescriptor, 'stream' | 'startSegment'>) => void
): Promise<BaseDescriptor> {
  const storage = openStorage(settings.storage)!
  const { installation, keys } = await factsOf(settings)
  const startedAt = new Date().toISOString()
  const id = idOf(startedAt)
  const stream = into ?? id
  if (into === null)
    await storage.put(streamObject(stream), [json({ format: FORMAT, installation, begunAt: startedAt })])
  const session = openSession(postgresTarget(settings.replicationUrl), {
    applicationName: 'rhone-archive',
    connectTimeout: CONNECT_TIMEOUT,
    prepare: false,
    parameters: { replication: 'database' }
  })
  const stop = () => session.destroy()
  signal?.addEventListener('abort', stop)
  const name = baseObject(stream, id, BASE)
  try {
    const files = await readFiles(session)
    const meter = new Meter(() => onBegun?.({ stream, startSegment: meter.startSegment() }))
    const data = await storage.put(name, sealed(meter.watched(files.content), settings.recipients), signal)
    await files.ended
    const finishedAt = new Date().toISOString()
    const plain = meter.mark()
    const checked = await readBack(settings, name, { data, plain }, signal)
    const base: BaseDescriptor = {
      format: FORMAT,
      ...{ id, stream, installation, startedAt, finishedAt, data, plain, keys, checked },
      release: settings.release,
      startSegment: meter.startSegment()
    }
    await storage.put(baseObject(stream, id, DESCRIPTOR), [json(base)])
    return base
  } catch (error) {
    await storage.remove(name).catch(() => {}) // it has no descriptor, so it does not count
    throw error
  } finally {
    signal?.removeEventListener('abort', stop)
    await session.sql.end({ timeout: 1 })
  }
}

async function factsOf({ databaseUrl, keyrings }: ArchiveSettings) {
  const { sql } = openSession(postgresTarget(databaseUrl), {
    applicationName: 'rhone-archive',
    connectTimeout: CONNECT_TIMEOUT,
    prepare: false
  })
  try {
    return { installation: await identityOf(sql), keys: await neededKeys(sql, keyrings) }
  } finally {
    await sql.end({ timeout: 1 })
  }
}

/** Parts of postgres.js that are missing from its types. */
interface PendingCopy {
  resolve: (value: unknown) => void
  reject: (error: Error) => void
}

/** The first byte of a base backup's frames is their type. */
const [ARCHIVE, CONTENT] = [0x6e, 0x64]

/**
 * The archive of files, followed by the server's result: only then is it known to have no damaged page and no missing
 * log.
 */
async function readFiles(session: Session): Promise<{ content: Readable; ended: Promise<unknown> }> {
  const options = `LABEL 'rhone', CHECKPOINT 'fast', WAL true, WAIT false, MANIFEST 'no'`
  const query = session.sql.unsafe(`BASE_BACKUP (${options})`)
  const frames = (await query.readable()) as Readable
  const ended = new Promise((resolve, reject) => {
    Object.assign(query as unknown as PendingCopy, { resolve, reject })
  })
  ended.catch(() => {})
  const content = new PassThrough({ highWaterMark: 256 * 1024 })
  let archives = 0
  // Frames stay separate only if they are handled on arrival: a read would join those that have accumulated.
  frames.on('data', (frame: Buffer) => {
    if (frame[0] === ARCHIVE && ++archives > 1)
      content.destroy(new Error('the database has tablespaces outside its data directory'))
    if (frame[0] !== CONTENT || content.write(frame.subarray(1))) return
    frames.pause()
    content.once('drain', () => frames.resume())
  })
  frames.once('end', () => {
    session.resume()
    content.end()
  })
  frames.once('error', error => content.destroy(error))
  return { content, ended }
}

/** Hashes the archive of files as it passes, and keeps its beginning. */
class Meter {
  readonly #hash = createHash('sha256')
  readonly #onHead: (() => void) | undefined
  #bytes = 0
  #head = Buffer.alloc(0)

  constructor(onHead?: () => void) {
    this.#onHead = onHead
  }

  async *watched(content: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    for await (const chunk of content) {
      this.#hash.update(chunk)
      this.#bytes += chunk.length
      if (this.#head.length < HEAD) {
        this.#head = Buffer.concat([this.#head, chunk]).subarray(0, HEAD)
        if (this.#head.length === HEAD) this.#onHead?.()
      }
      yield chunk
    }
  }

  mark(): ObjectMark {
    return { bytes: this.#bytes, sha256: this.#hash.digest('hex') }
  }

  startSegment(): string {
    const [, segment] = /START WAL LOCATION: \S+ \(file ([0-9A-F]{24})\)$/m.exec(this.#head.toString('latin1')) ?? []
    if (segment === undefined) throw new Error('the base backup does not name its first WAL segment')
    return segment
  }
}

async function readBack(
  { storage: options, identities }: ArchiveSettings,
  name: string,
  { data, plain }: Pick<BaseDescriptor, 'data' | 'plain'>,
  signal?: AbortSignal
): Promise<BaseDescriptor['checked']> {
  const storage = openStorage(options)!
  if (identities.length === 0) {
    await assertStored(storage, name, data, signal)
    return 'read back'
  }
  for await (const _ of openFiles({ data, plain }, openObject(storage, name, data, identities, signal)));
  return 'opened'
}

/** Passes the archive of files on, and fails at its end unless it is unchanged. */
export async function* openFiles(
  { plain }: Pick<BaseDescriptor, 'data' | 'plain'>,
  content: AsyncIterable<Buffer>
): AsyncGenerator<Buffer> {
  const meter = new Meter()
  yield* meter.watched(content)
  const { bytes, sha256 } = meter.mark()
  if (bytes !== plain.bytes || sha256 !== plain.sha256)
    throw new Error('the stored base backup does not match its checksum')
}

const json = (value: object): Buffer => Buffer.from(`${JSON.stringify(value, null, 2)}\n`)
