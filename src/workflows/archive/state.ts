import { readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { nullIf } from '../../../plugins/lib/errno.ts'
import { isSegment, markOf } from './names.ts'

/** The state between two runs. Stored next to the segments, so that both are lost together. */
export interface ArchiveState {
  /** Null: the next run begins one, with a base backup. */
  readonly stream: string | null
  /** The next expected segment. */
  readonly next: string | null
  readonly base: { readonly id: string; readonly finishedAt: string } | null
  /** Bytes stored since the base backup. */
  readonly storedBytes: number
  /** Identifies the keyrings stored last. */
  readonly keys: string | null
  /** Since when, and why, current writes cannot be recovered; null: they can. */
  readonly broken: { readonly since: string; readonly why: string } | null
}

export const EMPTY_STATE: ArchiveState = {
  stream: null,
  next: null,
  base: null,
  storedBytes: 0,
  keys: null,
  broken: null
}

export const walDirectory = (directory: string): string => join(directory, 'wal')
/** Sealed segments waiting for the storage, in one folder per stream. */
export const sealedDirectory = (directory: string): string => join(directory, 'sealed')

export async function readState(directory: string): Promise<ArchiveState> {
  const text = await readFile(join(directory, 'state.json'), 'utf8').catch(nullIf('ENOENT'))
  if (text === null) return EMPTY_STATE
  try {
    return { ...EMPTY_STATE, ...JSON.parse(text) }
  } catch {
    return EMPTY_STATE // Cut off by a full disk: a new stream begins.
  }
}

export async function writeState(directory: string, state: ArchiveState): Promise<void> {
  const path = join(directory, 'state.json')
  await writeFile(`${path}.new`, JSON.stringify(state, null, 2), { mode: 0o600, flush: true })
  await rename(`${path}.new`, path)
}

/** A waiting file: as PostgreSQL has put it there, or sealed. */
export interface WaitingFile {
  readonly path: string
  readonly name: string
  readonly bytes: number
  /** When PostgreSQL finished the segment. */
  readonly since: Date
}

/** Complete segments that PostgreSQL has put there, in order. */
export async function rawSegments(directory: string): Promise<WaitingFile[]> {
  return filesIn(walDirectory(directory), isSegment)
}

/** Sealed segments, by stream, in order. */
export async function sealedSegments(directory: string): Promise<Map<string, WaitingFile[]>> {
  const root = sealedDirectory(directory)
  const streams = (await readdir(root).catch(nullIf('ENOENT'))) ?? []
  const found = new Map<string, WaitingFile[]>()
  for (const stream of streams.sort()) {
    const files = await filesIn(join(root, stream), name => markOf(name) !== null)
    found.set(
      stream,
      files.map(file => ({ ...file, since: markOf(file.name)!.archivedAt }))
    )
  }
  return found
}

/** All waiting files. */
export async function waitingFiles(directory: string): Promise<WaitingFile[]> {
  return [...(await rawSegments(directory)), ...[...(await sealedSegments(directory)).values()].flat()]
}

export async function bytesWaiting(directory: string): Promise<number> {
  return (await waitingFiles(directory)).reduce((sum, { bytes }) => sum + bytes, 0)
}

/** Removes all waiting files, including incomplete ones. */
export async function removeWaitingFiles(directory: string): Promise<void> {
  for (const { path } of await rawSegments(directory)) await rm(path, { force: true })
  await rm(sealedDirectory(directory), { recursive: true, force: true })
}

async function filesIn(directory: string, belongs: (name: string) => boolean): Promise<WaitingFile[]> {
  const names = ((await readdir(directory).catch(nullIf('ENOENT'))) ?? []).filter(belongs).sort()
  const files = await Promise.all(
    names.map(async name => {
      const path = join(directory, name)
      const facts = await stat(path).catch(nullIf('ENOENT'))
      return facts && { path, name, bytes: facts.size, since: facts.mtime }
    })
  )
  return files.filter(file => file !== null)
}
