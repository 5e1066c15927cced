/* The object names of an archive. A stream is one database's log without a gap: `archive/<stream>/...`. */

export const ROOT = 'archive/'
/** Written first: names the installation. */
export const STREAM = 'stream.json'
export const BASE = 'base.tar.zst.age'
/** Written last: without it, the base backup does not count. */
export const DESCRIPTOR = 'base.json'

/** Bytes of a segment, the piece in which PostgreSQL writes its log. */
export const SEGMENT_SIZE = 16 * 1024 * 1024
/** A segment number has two parts; the second one restarts after this many. */
const SEGMENTS_PER_ID = 2 ** 32 / SEGMENT_SIZE

/** A stored segment. Its object name alone says which segment it is, when it was complete, and what it must contain. */
export interface SegmentMark {
  /** PostgreSQL's name for it: timeline and position, 24 hexadecimal digits. */
  readonly segment: string
  /** When PostgreSQL finished it: its contents are not newer. */
  readonly archivedAt: Date
  /** The beginning of the SHA-256 of its content. */
  readonly plain: string
  /** The SHA-256 of what is stored. */
  readonly sealed: string
}

const SEGMENT = /^[0-9A-F]{24}$/
const STORED = /^([0-9A-F]{24})\.(\d{13})\.([0-9a-f]{16})\.([0-9a-f]{64})$/
const OBJECT = /^archive\/(\d{8}T\d{6}Z-[0-9a-f]{8})\/(.+)$/

export const isSegment = (name: string): boolean => SEGMENT.test(name)
export const streamObject = (stream: string): string => `${ROOT}${stream}/${STREAM}`
export const baseObject = (stream: string, base: string, part: string): string =>
  `${ROOT}${stream}/bases/${base}/${part}`
export const keysObject = (stream: string, print: string): string => `${ROOT}${stream}/keys/${print}.json.zst.age`
export const segmentObject = (stream: string, file: string): string => `${ROOT}${stream}/wal/${file}`

export function nameOfSegment({ segment, archivedAt, plain, sealed }: SegmentMark): string {
  return `${segment}.${archivedAt.getTime()}.${plain.slice(0, 16)}.${sealed}`
}

/** Null if it is not a segment's name. */
export function markOf(name: string): SegmentMark | null {
  const [, segment, at, plain, sealed] = STORED.exec(name) ?? []
  return segment === undefined ? null : { segment, archivedAt: new Date(Number(at)), plain: plain!, sealed: sealed! }
}

/** Null for an object that is not part of an archive. */
export function partOf(name: string): { stream: string; part: string } | null {
  const [, stream, part] = OBJECT.exec(name) ?? []
  return stream === undefined ? null : { stream, part: part! }
}

/** The segment that follows on the same timeline. */
export function nextSegment(segment: string): string {
  const id = Number.parseInt(segment.slice(8, 16), 16)
  const place = Number.parseInt(segment.slice(16), 16) + 1
  const [nextId, nextPlace] = place === SEGMENTS_PER_ID ? [id + 1, 0] : [id, place]
  return segment.slice(0, 8) + hex(nextId) + hex(nextPlace)
}

const hex = (value: number): string => value.toString(16).toUpperCase().padStart(8, '0')
