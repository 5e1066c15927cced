import type { Storage } from '../../../integrations/storage/index.ts'
import { type BaseDescriptor, listStreams, type Stream } from './catalogue.ts'
import { BASE, baseObject, DESCRIPTOR, markOf, partOf, STREAM } from './names.ts'

const DAY = 86_400_000

/** The parts of an installation's archive that are no longer needed. */
export interface ExpiredArchive {
  /** Base backups, each with the log that leads only to the next one. */
  readonly bases: readonly BaseDescriptor[]
  /** Names of all objects to remove, in order of removal. */
  readonly objects: readonly string[]
}

/**
 * Selects what can be removed while every instant of the last `days` before the newest base backup stays recoverable. A
 * base backup is removed together with its log, and only when a later one is that old. Ages are compared with each
 * other, not with this machine's clock.
 */
export function expiredArchive(streams: readonly Stream[], days: number): ExpiredArchive {
  const bases = streams.flatMap(stream => stream.bases).toSorted((a, b) => (a.finishedAt < b.finishedAt ? -1 : 1))
  const newest = bases.at(-1)
  if (newest === undefined) return { bases: [], objects: [] }
  const horizon = new Date(Date.parse(newest.finishedAt) - days * DAY).toISOString()
  /** The oldest base backup still needed: the last at or before the horizon, or else the first. */
  const first = bases.findLast(({ finishedAt }) => finishedAt <= horizon) ?? bases[0]!
  const gone = bases.filter(({ finishedAt }) => finishedAt < first.finishedAt)
  const objects = streams.flatMap(stream => {
    const kept = stream.bases.filter(base => !gone.includes(base))
    // A stream without any base backup is just being begun, unless there are later streams.
    if (kept.length === 0) return stream.id < first.stream ? stream.objects.map(({ name }) => name) : []
    const start = kept.map(({ startSegment }) => startSegment).sort()[0]!
    const own = gone.filter(base => base.stream === stream.id)
    return [
      ...own.flatMap(({ id }) => [DESCRIPTOR, BASE].map(part => baseObject(stream.id, id, part))),
      ...stream.objects.map(({ name }) => name).filter(name => isBefore(name, start))
    ]
  })
  return { bases: gone, objects: inOrder(objects) }
}

function isBefore(name: string, start: string): boolean {
  const { part } = partOf(name)!
  const mark = part.startsWith('wal/') ? markOf(part.slice('wal/'.length)) : null
  return mark !== null && mark.segment < start
}

/**
 * The order of removal: an interrupted removal leaves a base backup uncounted rather than damaged. The installation's
 * name goes last, so that the rest is found again.
 */
function inOrder(names: readonly string[]): string[] {
  const place = (name: string) => (name.endsWith(`/${DESCRIPTOR}`) ? 0 : name.endsWith(`/${STREAM}`) ? 2 : 1)
  return names.toSorted((a, b) => place(a) - place(b))
}

/**
 * Removes the parts of an installation's archive that are no longer needed.
 * @throws StorageError when the credentials have no right to delete
 */
export async function pruneArchive(
  storage: Storage,
  days: number,
  installation: string,
  signal?: AbortSignal
): Promise<ExpiredArchive> {
  const own = (await listStreams(storage, signal)).filter(({ facts }) => facts.installation === installation)
  const gone = expiredArchive(own, days)
  for (const name of gone.objects) {
    signal?.throwIfAborted()
    await storage.remove(name, signal)
  }
  return gone
}
