import type { Storage, StoredObject } from '../../../integrations/storage/index.ts'
import type { NeededKeys, ObjectMark } from '../backups/manifest.ts'
import { BASE, DESCRIPTOR, markOf, nextSegment, partOf, ROOT, type SegmentMark, STREAM } from './names.ts'

export const FORMAT = 'rhone-archive/1'

/** The facts about a base backup that are readable without any key. */
export interface BaseDescriptor {
  readonly format: typeof FORMAT
  readonly id: string
  readonly stream: string
  readonly installation: string
  readonly startedAt: string
  /** Recovery can reach any instant from here on. */
  readonly finishedAt: string
  readonly release: string
  /** The first segment that recovery needs. */
  readonly startSegment: string
  /** The object as stored. */
  readonly data: ObjectMark
  /** The archive of files inside it. */
  readonly plain: ObjectMark
  readonly keys: NeededKeys
  readonly checked: 'opened' | 'read back'
}

export interface StreamFacts {
  readonly format: typeof FORMAT
  readonly installation: string
  readonly begunAt: string
}

/** One database's log without a gap, as found in the storage. */
export interface Stream {
  readonly id: string
  readonly facts: StreamFacts
  /** Complete ones, oldest first. */
  readonly bases: readonly BaseDescriptor[]
  /** In order. */
  readonly segments: readonly SegmentMark[]
  /** Objects with keyrings, oldest first. */
  readonly keys: readonly string[]
  readonly objects: readonly StoredObject[]
}

/** The log that follows a base backup, up to the first gap. */
export interface Chain {
  readonly segments: readonly SegmentMark[]
  /** The latest instant that recovery is sure to reach. */
  readonly end: Date
  /** The first missing segment that is followed by later ones; null: there is no gap. */
  readonly missing: string | null
}

/** All streams in a storage, oldest first. */
export async function listStreams(storage: Storage, signal?: AbortSignal): Promise<Stream[]> {
  const objects = Map.groupBy(await storage.list(ROOT, signal), ({ name }) => partOf(name)?.stream)
  const streams: Stream[] = []
  for (const [id, own] of objects) {
    if (id === undefined) continue
    const facts = await readJson<StreamFacts>(storage, own.find(({ name }) => partOf(name)?.part === STREAM)?.name)
    if (facts !== null) streams.push(await describe(storage, id, facts, own))
  }
  return streams.sort((a, b) => (a.id < b.id ? -1 : 1))
}

async function describe(
  storage: Storage,
  id: string,
  facts: StreamFacts,
  objects: readonly StoredObject[]
): Promise<Stream> {
  const sizes = new Map(objects.map(({ name, bytes }) => [partOf(name)!.part, bytes]))
  const bases: BaseDescriptor[] = []
  for (const part of sizes.keys()) {
    if (!part.startsWith('bases/') || !part.endsWith(`/${DESCRIPTOR}`)) continue
    const base = await readJson<BaseDescriptor>(storage, `${ROOT}${id}/${part}`)
    const bytes = sizes.get(part.slice(0, -DESCRIPTOR.length) + BASE)
    if (base !== null && bytes === base.data.bytes) bases.push(base)
  }
  const named = (folder: string) => [...sizes.keys()].filter(part => part.startsWith(folder)).sort()
  return {
    id,
    facts,
    bases: bases.sort((a, b) => (a.finishedAt < b.finishedAt ? -1 : 1)),
    segments: named('wal/')
      .map(part => markOf(part.slice('wal/'.length)))
      .filter(mark => mark !== null),
    keys: named('keys/').map(part => `${ROOT}${id}/${part}`),
    objects
  }
}

/**
 * The segments from a base backup on, up to the first one that holds `to`.
 *
 * @param to null: all of them
 * @throws Error when a segment is there twice with different content
 */
export function chainOf(stream: Stream, base: BaseDescriptor, to: Date | null): Chain {
  const segments: SegmentMark[] = []
  const last = stream.segments.at(-1)?.segment ?? ''
  let end = new Date(base.finishedAt)
  let expected = base.startSegment
  for (const mark of stream.segments) {
    if (mark.segment < expected) {
      if (segments.at(-1)?.segment === mark.segment && segments.at(-1)?.plain !== mark.plain)
        throw new Error(`segment ${mark.segment} of the archive exists twice: two servers have written to it`)
      continue
    }
    if (mark.segment !== expected) break
    segments.push(mark)
    expected = nextSegment(expected)
    if (mark.archivedAt > end) end = mark.archivedAt
    if (to !== null && end >= to && mark.archivedAt >= to) return { segments, end, missing: null }
  }
  return { segments, end, missing: expected <= last ? expected : null }
}

/** A base backup and the log to recover from it to an instant. */
export interface RecoveryPath {
  readonly stream: Stream
  readonly base: BaseDescriptor
  readonly chain: Chain
}

/**
 * The shortest recovery to an instant: the latest base backup before it, and the log from there.
 * @param to null: the latest possible instant
 * @param from the installation; null: there is only one
 * @throws Error that says which instants are available instead, or names a missing segment
 */
export function recoveryPathTo(streams: readonly Stream[], to: Date | null, from: string | null = null): RecoveryPath {
  const own = streams.filter(({ facts }) => from === null || facts.installation === from)
  if (new Set(own.map(({ facts }) => facts.installation)).size > 1)
    throw new Error('there are archives of several installations here: use a location with only one')
  const bases = own.flatMap(stream => stream.bases.map(base => ({ stream, base })))
  const [oldest] = bases.toSorted((a, b) => (a.base.finishedAt < b.base.finishedAt ? -1 : 1))
  if (oldest === undefined) throw new Error('there is no complete archive here: no base backup has finished')
  const candidates = bases.filter(({ base }) => to === null || new Date(base.finishedAt) <= to)
  const chosen = candidates.toSorted((a, b) => (a.base.finishedAt < b.base.finishedAt ? 1 : -1))[0]
  if (chosen === undefined)
    throw new Error(`the archive begins at ${oldest.base.finishedAt}; ${to!.toISOString()} is before that`)
  const chain = chainOf(chosen.stream, chosen.base, to)
  if (chain.missing !== null)
    throw new Error(
      `segment ${chain.missing} is missing from the archive: nothing after ${chain.end.toISOString()} can be recovered`
    )
  if (to !== null && chain.end < to)
    throw new Error(
      `the archive ends at ${chain.end.toISOString()}; ${to.toISOString()} is after that: use an earlier time, or "latest"`
    )
  return { ...chosen, chain }
}

async function readJson<Value extends { format: string }>(
  storage: Storage,
  name: string | undefined
): Promise<Value | null> {
  if (name === undefined) return null
  try {
    const value = JSON.parse(Buffer.concat((await Array.fromAsync(await storage.get(name))) as Buffer[]).toString())
    return value?.format === FORMAT ? value : null
  } catch (error) {
    // Removed meanwhile, or its writing was interrupted: it does not count.
    if (error instanceof SyntaxError || (error as { failure?: string }).failure === 'missing') return null
    throw error
  }
}
