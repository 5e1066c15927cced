import { createHash } from 'node:crypto'
import { mkdir, open, readdir, readFile, rename, rm, rmdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { openStorage, type Storage, StorageError } from '../../../integrations/storage/index.ts'
import { nullIf } from '../../../plugins/lib/errno.ts'
import { printOf } from '../backups/manifest.ts'
import { sealed } from '../backups/sealing.ts'
import type { KeyBundle } from '../backups/settings.ts'
import { assertStored } from '../backups/verify.ts'
import { makeBase } from './base.ts'
import { keysObject, markOf, nameOfSegment, nextSegment, SEGMENT_SIZE, segmentObject } from './names.ts'
import { pruneArchive } from './retention.ts'
import type { ArchiveSettings } from './settings.ts'
import {
  type ArchiveState,
  bytesWaiting,
  rawSegments,
  readState,
  removeWaitingFiles,
  sealedDirectory,
  sealedSegments,
  type WaitingFile,
  walDirectory,
  writeState
} from './state.ts'

const DAY = 86_400_000
/**
 * A new base backup is made after this time, or once the log since the last one has grown this large, since recovery
 * reads all of it.
 */
const BASE_AFTER = 7 * DAY
const BASE_AFTER_BYTES = 4 * 2 ** 30
/** Milliseconds between two checks for segments while a base backup is made. */
const PAUSE = 5_000
/** A temporary file of PostgreSQL older than this was left by a crash. */
const LEFT_OVER = 600_000

/**
 * Stores what PostgreSQL has archived since the last run. Begins a stream, with a base backup, if there is none, and
 * makes the next base backup when it is due.
 * @returns the new state, which is also stored in a file
 * @throws Error that says what is wrong; whatever could not be stored waits, and is given up beyond the limit
 */
export async function archive(settings: ArchiveSettings, signal: AbortSignal): Promise<ArchiveState> {
  const run = new Run(settings, await readState(settings.directory), signal)
  await run.removeLeftOvers()
  if (run.state.stream === null) await run.begin()
  await run.ship()
  if (run.isBaseDue()) await run.renewBase()
  return run.state
}

/** Discards the waiting files. The next run begins a new stream. */
export async function discardBacklog(directory: string, why: string): Promise<ArchiveState> {
  await removeWaitingFiles(directory)
  const state = await readState(directory)
  const broken = state.broken ?? { since: new Date().toISOString(), why }
  const next: ArchiveState = { ...state, stream: null, next: null, broken }
  await writeState(directory, next)
  return next
}

export const backlogExceeded = (limit: number): string =>
  `more than ${limit} bytes of WAL waited for the storage; they were dropped so that the disk does not fill up`

class Run {
  readonly #settings: ArchiveSettings
  readonly #storage: Storage
  readonly #signal: AbortSignal
  state: ArchiveState

  constructor(settings: ArchiveSettings, state: ArchiveState, signal: AbortSignal) {
    this.#settings = settings
    this.#storage = openStorage(settings.storage)!
    this.#signal = signal
    this.state = state
  }

  async begin(): Promise<void> {
    const { directory } = this.#settings
    // Log written before a base backup cannot extend it.
    for (const { path } of await rawSegments(directory)) await rm(path, { force: true })
    if (this.state.broken === null)
      await this.#keep({ broken: { since: new Date().toISOString(), why: 'there is no base backup yet' } })
    await this.renewBase()
  }

  /** Seals first: files waiting for an unreachable storage then take little room. */
  async ship(): Promise<void> {
    await this.#seal()
    await this.#store()
    if (this.state.stream !== null) await this.#storeKeys(this.state.stream)
  }

  isBaseDue(): boolean {
    const { stream, base, storedBytes } = this.state
    if (stream === null || base === null) return stream !== null
    return Date.now() - Date.parse(base.finishedAt) > BASE_AFTER || storedBytes > BASE_AFTER_BYTES
  }

  /**
   * The log is stored meanwhile, so that nothing more can be lost than at other times, and what waits stays small. If
   * there is no stream, it begins as soon as it is known with which segment; should the base backup fail, the next run
   * makes another one in the same stream.
   */
  async renewBase(): Promise<void> {
    const giving = new AbortController()
    let isMade = false
    let beginning: Partial<ArchiveState> | undefined
    const signal = AbortSignal.any([this.#signal, giving.signal])
    const made = makeBase(this.#settings, this.state.stream, signal, ({ stream, startSegment }) => {
      if (this.state.stream === null) beginning = { stream, next: startSegment, base: null, storedBytes: 0 }
    }).finally(() => {
      isMade = true
    })
    made.catch(() => {})
    try {
      while (!isMade) {
        await Promise.race([made, delay(PAUSE, undefined, { signal: this.#signal })])
        if (beginning !== undefined) await this.#keep(beginning)
        beginning = undefined
        await this.ship()
      }
    } catch (error) {
      giving.abort()
      throw error
    }
    const { id, finishedAt, stream, installation } = await made
    // A stream that has broken off meanwhile stays broken.
    const isWhole = this.state.stream === stream
    await this.#keep({ base: { id, finishedAt }, storedBytes: 0, ...(isWhole && { broken: null }) })
    await this.#prune(installation)
  }

  async removeLeftOvers(): Promise<void> {
    const directory = walDirectory(this.#settings.directory)
    for (const name of (await readdir(directory).catch(nullIf('ENOENT'))) ?? []) {
      const path = join(directory, name)
      // Base backup labels and timeline histories: a new stream needs neither.
      if (name.endsWith('.backup') || name.endsWith('.history')) await rm(path, { force: true })
      if (!name.startsWith('archtemp.')) continue
      const facts = await stat(path).catch(nullIf('ENOENT'))
      if (facts && Date.now() - facts.mtimeMs > LEFT_OVER) await rm(path, { force: true })
    }
  }

  async #seal(): Promise<void> {
    for (const file of await rawSegments(this.#settings.directory)) {
      this.#signal.throwIfAborted()
      const { stream, next } = this.state
      if (stream === null || next === null) return
      if (file.name < next) {
        await rm(file.path, { force: true })
      } else if (file.name > next) {
        this.state = await discardBacklog(this.#settings.directory, `segment ${next} was never archived`)
        return
      } else {
        await this.#sealOne(stream, file)
        await this.#keep({ next: nextSegment(next) })
        await rm(file.path)
      }
      await this.#watchLimit()
    }
  }

  async #sealOne(stream: string, { path, name: segment, bytes, since: archivedAt }: WaitingFile): Promise<void> {
    if (bytes !== SEGMENT_SIZE) throw new Error(`${path} has ${bytes} bytes, but a segment has ${SEGMENT_SIZE}`)
    const folder = join(sealedDirectory(this.#settings.directory), stream)
    await mkdir(folder, { recursive: true, mode: 0o700 })
    // An interrupted run may have sealed it already; sealing it again would make another object name.
    for (const name of await readdir(folder)) if (name.startsWith(segment)) await rm(join(folder, name))
    const content = await readFile(path)
    const chunks = await Array.fromAsync(sealed([content], this.#settings.recipients))
    const mark = { segment, archivedAt, plain: sha256([content]), sealed: sha256(chunks) }
    await writeWhole(join(folder, nameOfSegment(mark)), chunks)
  }

  async #store(): Promise<void> {
    for (const [stream, files] of await sealedSegments(this.#settings.directory)) {
      for (const file of files) {
        this.#signal.throwIfAborted()
        await this.#storeOne(stream, file)
        await rm(file.path, { force: true })
        if (stream === this.state.stream) await this.#keep({ storedBytes: this.state.storedBytes + file.bytes })
      }
      await rmdir(join(sealedDirectory(this.#settings.directory), stream)).catch(nullIf('ENOENT', 'ENOTEMPTY'))
    }
  }

  async #storeOne(stream: string, { path, name, bytes }: WaitingFile): Promise<void> {
    const object = segmentObject(stream, name)
    try {
      await this.#storage.put(object, [await readFile(path)], this.#signal)
    } catch (error) {
      // Its name contains its hash, so an interrupted run has stored it.
      if (!(error instanceof StorageError && error.failure === 'exists')) throw error
    }
    await assertStored(this.#storage, object, { bytes, sha256: markOf(name)!.sealed }, this.#signal)
  }

  /** Keys created later are needed, too: later data is sealed with them. */
  async #storeKeys(stream: string): Promise<void> {
    const { keyrings, extras, keyRecipients } = this.#settings
    const print = printOf('archive', Buffer.from(JSON.stringify(keyrings)))
    const name = `${stream} ${print}`
    if (this.state.keys === name) return
    const bundle: KeyBundle = { keyrings, ...extras }
    const at = new Date().toISOString().replace(/[-:]|\.\d+/g, '')
    const content = sealed([Buffer.from(JSON.stringify(bundle))], keyRecipients)
    try {
      await this.#storage.put(keysObject(stream, `${at}-${print}`), content, this.#signal)
    } catch (error) {
      // Its name contains the keys' fingerprint: a run that was interrupted in this second has stored them.
      if (!(error instanceof StorageError && error.failure === 'exists')) throw error
    }
    await this.#keep({ keys: name })
  }

  async #watchLimit(): Promise<void> {
    const { directory, limit } = this.#settings
    if ((await bytesWaiting(directory)) > limit) this.state = await discardBacklog(directory, backlogExceeded(limit))
  }

  /** Credentials without the right to delete are a good choice: then the bucket's own rules remove what is old. */
  async #prune(installation: string): Promise<void> {
    try {
      await pruneArchive(this.#storage, this.#settings.keepDays, installation, this.#signal)
    } catch (error) {
      if (!(error instanceof StorageError && error.failure === 'denied')) throw error
    }
  }

  async #keep(change: Partial<ArchiveState>): Promise<void> {
    this.state = { ...this.state, ...change }
    await writeState(this.#settings.directory, this.state)
  }
}

async function writeWhole(path: string, chunks: readonly Buffer[]): Promise<void> {
  const file = await open(`${path}.new`, 'w', 0o600)
  try {
    await file.writeFile(Buffer.concat(chunks))
    await file.sync()
  } finally {
    await file.close()
  }
  await rename(`${path}.new`, path)
}

function sha256(chunks: readonly Buffer[]): string {
  const hash = createHash('sha256')
  for (const chunk of chunks) hash.update(chunk)
  return hash.digest('hex')
}
