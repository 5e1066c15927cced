import assert from 'node:assert/strict'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { padding, TAR_END, tarHeader } from '../../../plugins/lib/tar.ts'
import { type BaseDescriptor, chainOf, recoveryPathTo, type Stream } from '../../../src/workflows/archive/catalogue.ts'
import {
  baseObject,
  DESCRIPTOR,
  markOf,
  nameOfSegment,
  nextSegment,
  type SegmentMark,
  segmentObject,
  streamObject
} from '../../../src/workflows/archive/names.ts'
import { expiredArchive } from '../../../src/workflows/archive/retention.ts'
import { unpackTo } from '../../../src/workflows/archive/unpack.ts'
import { directoryFor } from '../../support/backups.ts'

const MINUTE = 60_000
const DAY = 1_440 * MINUTE
const BEGUN = Date.parse('2030-01-01T00:00:00Z')
const at = (minute: number) => new Date(BEGUN + minute * MINUTE)
const segmentAt = (n: number) => `00000001${'0'.repeat(8)}${n.toString(16).toUpperCase().padStart(8, '0')}`
const id = (n: number) => `20300101T00000${n}Z-0000000${n}`

const mark = (n: number, plain = 'a'.repeat(64)): SegmentMark => ({
  segment: segmentAt(n),
  archivedAt: at(n),
  plain: plain.slice(0, 16),
  sealed: 'b'.repeat(64)
})

function base(stream: string, n: number, finishedAt = at(n)): BaseDescriptor {
  const whole = { bytes: 1, sha256: '' }
  return {
    format: 'rhone-archive/1',
    id: `${stream.slice(0, -4)}${String(n).padStart(4, '0')}`,
    ...{ stream, installation: 'one', startedAt: finishedAt.toISOString(), finishedAt: finishedAt.toISOString() },
    ...{ release: '1.2.3', startSegment: segmentAt(n), data: whole, plain: whole, checked: 'opened' },
    keys: { ENCRYPTION_KEYS: [], SIGNING_KEYS: [] }
  }
}

/** A stream with a base backup at each of some segments, and the segments. */
function stream(name: string, bases: readonly BaseDescriptor[], segments: readonly SegmentMark[]): Stream {
  const names = [
    streamObject(name),
    ...bases.map(({ id }) => baseObject(name, id, DESCRIPTOR)),
    ...segments.map(one => segmentObject(name, nameOfSegment(one)))
  ]
  return {
    id: name,
    facts: { format: 'rhone-archive/1', installation: 'one', begunAt: at(0).toISOString() },
    ...{ bases, segments, keys: [], objects: names.map(object => ({ name: object, bytes: 1 })) }
  }
}

test('segments are numbered like in PostgreSQL', () => {
  assert.equal(nextSegment('000000010000000000000001'), '000000010000000000000002')
  assert.equal(nextSegment('0000000100000000000000FF'), '000000010000000100000000')
  assert.equal(nextSegment('0000000A0000FFFF000000FF'), '0000000A0001000000000000')
  assert.deepEqual(markOf(nameOfSegment(mark(7))), mark(7))
  assert.equal(markOf('000000010000000000000001'), null)
})

test('the recovery path begins at the latest base backup before the target, and ends with the segment that contains it', () => {
  const name = id(1)
  const one = stream(
    name,
    [base(name, 1), base(name, 5)],
    [1, 2, 3, 4, 5, 6, 7].map(n => mark(n))
  )
  const way = recoveryPathTo([one], at(3.5))
  assert.deepEqual([way.base.startSegment, way.chain.segments.length], [segmentAt(1), 4])
  assert.equal(recoveryPathTo([one], at(6.5)).base.startSegment, segmentAt(5))
  assert.deepEqual(recoveryPathTo([one], null).chain.end, at(7))
  assert.throws(
    () => recoveryPathTo([one], at(0.5)),
    /the archive begins at 2030-01-01T00:01:00.000Z; .* is before that/
  )
  assert.throws(() => recoveryPathTo([one], at(8)), /the archive ends at 2030-01-01T00:07:00.000Z; .* is after that/)
  assert.throws(() => recoveryPathTo([], at(8)), /no complete archive here/)
})

test('a gap blocks only recovery beyond it, and is named', () => {
  const name = id(1)
  const one = stream(
    name,
    [base(name, 1)],
    [1, 2, 4, 5].map(n => mark(n))
  )
  assert.equal(recoveryPathTo([one], at(1.5)).chain.segments.length, 2)
  for (const to of [at(2.5), at(4.5), null])
    assert.throws(
      () => recoveryPathTo([one], to),
      new RegExp(`segment ${segmentAt(3)} is missing .* after 2030-01-01T00:02:00`)
    )
})

test('a duplicate segment is refused if its content differs, and otherwise used once', () => {
  const name = id(1)
  const same = stream(name, [base(name, 1)], [mark(1), { ...mark(1), sealed: 'c'.repeat(64) }, mark(2)])
  assert.equal(chainOf(same, same.bases[0]!, null).segments.length, 2)
  const other = stream(name, [base(name, 1)], [mark(1), mark(1, 'd'.repeat(64)), mark(2)])
  assert.throws(() => chainOf(other, other.bases[0]!, null), /exists twice: two servers have written to it/)
})

test('a base backup expires with its segments once a later one reaches the retention period, but the last one never', () => {
  const name = id(1)
  const days = (n: number) => new Date(BEGUN + n * DAY)
  const bases = [base(name, 1, days(0)), base(name, 3, days(7)), base(name, 5, days(13)), base(name, 7, days(20))]
  const one = stream(
    name,
    bases,
    [1, 2, 3, 4, 5, 6, 7, 8].map(n => mark(n))
  )
  const gone = expiredArchive([one], 7)
  assert.deepEqual(
    gone.bases.map(({ startSegment }) => startSegment),
    [segmentAt(1), segmentAt(3)]
  )
  assert.deepEqual(
    gone.objects.map(object => object.split('/').at(-1)!.slice(0, 24)),
    [DESCRIPTOR, DESCRIPTOR, 'base.tar.zst.age', 'base.tar.zst.age', 1, 2, 3, 4].map(each =>
      typeof each === 'number' ? segmentAt(each) : each
    )
  )
  assert.deepEqual(expiredArchive([stream(name, bases.slice(0, 1), [])], 0).bases, [])
  assert.deepEqual(expiredArchive([stream(name, bases.slice(0, 2), [mark(1)])], 7).objects, [])
})

test('an abandoned stream expires completely, and one that has just started is kept', () => {
  const [old, current, begun] = [id(1), id(2), id(3)]
  const days = (n: number) => new Date(BEGUN + n * DAY)
  const streams = [
    stream(old, [base(old, 1, days(0))], [mark(1)]),
    stream(current, [base(current, 1, days(1)), base(current, 2, days(30))], [mark(1), mark(2)]),
    stream(begun, [], [])
  ]
  const { objects } = expiredArchive(streams, 7)
  assert.deepEqual(
    objects.filter(name => name.includes(old)).at(-1),
    streamObject(old),
    'what says whose it is goes last'
  )
  assert.equal(objects.filter(name => name.includes(old)).length, streams[0]!.objects.length)
  assert.ok(!objects.some(name => name.includes(current) || name.includes(begun)))
})

test('files are unpacked unchanged; names that point outside, and truncated archives, are refused', async t => {
  const directory = await directoryFor(t)
  const archive = async function* (path: string) {
    for (const member of [
      { path, content: Buffer.alloc(700_000, 'x') },
      { path: 'a/b', content: Buffer.from('b') }
    ]) {
      const { path, content } = member
      yield tarHeader({ path, type: 'file', size: content.length, isExecutable: false })
      yield content
      yield padding(content.length)
    }
    yield TAR_END
  }
  await unpackTo(join(directory, 'good'), archive('a/x'))
  assert.equal((await readFile(join(directory, 'good/a/x'))).length, 700_000)
  assert.equal(await readFile(join(directory, 'good/a/b'), 'utf8'), 'b')
  for (const name of ['../out', '/tmp/out', 'a/../../out'])
    await assert.rejects(unpackTo(join(directory, 'bad'), archive(name)), /points outside/)
  const whole = Buffer.concat(await Array.fromAsync(archive('y')))
  const cut = (async function* () {
    yield whole.subarray(0, 100_000)
  })()
  await assert.rejects(unpackTo(join(directory, 'cut'), cut), /truncated/)
  assert.deepEqual((await readdir(directory)).sort(), ['cut', 'good'])
})
