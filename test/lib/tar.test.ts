import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { type TestContext, test } from 'node:test'
import { promisify } from 'node:util'
import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { readSourceArchive } from '../../plugins/lib/source-archive.ts'
import { padding, readTar, TAR_END, TarError, type TarMember, tarHeader } from '../../plugins/lib/tar.ts'

const run = promisify(execFile)

interface Item extends Partial<TarMember> {
  readonly path: string
  readonly text?: string
}

/** An archive with the given members. */
function archiveOf(items: readonly Item[], end: Buffer = TAR_END): Buffer {
  const parts = items.flatMap(({ text = '', type = 'file', isExecutable = false, ...item }) => {
    const content = Buffer.from(text)
    const size = type === 'file' ? content.length : 0
    return [tarHeader({ size, isExecutable, ...item, type }), ...(type === 'file' ? [content, padding(size)] : [])]
  })
  return Buffer.concat([...parts, end])
}

/** In chunks of a small size. */
async function* cut(bytes: Buffer, size = 100): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

async function read(bytes: Buffer, size?: number) {
  const found: object[] = []
  for await (const { content, ...entry } of readTar(cut(bytes, size)))
    found.push({ ...entry, text: (await buffer(Readable.from(content))).toString() })
  return found
}

async function pathsIn(items: readonly Item[], limits = { bytes: 1_000_000, entries: 100 }): Promise<string[]> {
  const paths: string[] = []
  for await (const { path } of readSourceArchive(cut(gzipSync(archiveOf(items))), limits)) paths.push(path)
  return paths
}

const refused = (items: readonly Item[], why: RegExp, limits?: { bytes: number; entries: number }) =>
  assert.rejects(pathsIn(items, limits), (error: Error) => error instanceof TarError && why.test(error.message))

async function folder(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'rhone-tar-'))
  t.after(() => rm(path, { recursive: true, force: true }))
  return path
}

test('archives are read as written, for any names, contents and chunks', async () => {
  const part = fc
    .string({ unit: 'grapheme', minLength: 1, maxLength: 60 })
    .filter(text => !/[/\0]/.test(text) && text.isWellFormed())
  const path = fc.array(part, { minLength: 1, maxLength: 6 }).map(parts => parts.join('/'))
  const item = fc.record({
    path,
    text: fc.string({ maxLength: 2_000 }).filter(text => text.isWellFormed()),
    isExecutable: fc.boolean()
  })
  await fc.assert(
    fc.asyncProperty(fc.array(item, { maxLength: 8 }), fc.integer({ min: 1, max: 3_000 }), async (items, size) => {
      const expected = items.map(({ text, ...rest }) => ({
        ...rest,
        type: 'file',
        size: Buffer.byteLength(text),
        text
      }))
      assert.deepEqual(await read(archiveOf(items), size), expected)
    }),
    { numRuns: 60 }
  )
})

test('the system tar reads our archives, with long names, links and executables', async t => {
  const place = await folder(t)
  const long = `${'deep/'.repeat(30)}ä ${'x'.repeat(90)}.txt`
  const items: Item[] = [
    { path: 'deep', type: 'directory' },
    { path: long, text: 'far below' },
    { path: 'run.sh', text: '#!/bin/sh\n', isExecutable: true },
    { path: 'link', type: 'link', target: 'run.sh' }
  ]
  await writeFile(join(place, 'a.tar'), archiveOf(items))
  await mkdir(join(place, 'out'))
  await run('tar', ['xf', join(place, 'a.tar'), '-C', join(place, 'out')])
  assert.equal(await readFile(join(place, 'out', long), 'utf8'), 'far below')
  assert.equal(await readFile(join(place, 'out/link'), 'utf8'), '#!/bin/sh\n')
  const { stdout } = await run(join(place, 'out/run.sh'))
  assert.equal(stdout, '')
})

for (const format of ['gnu', 'pax', 'ustar'])
  test(`archives of the system tar are read: ${format}`, async t => {
    const place = await folder(t)
    const name = format === 'ustar' ? 'x'.repeat(90) : `${'y'.repeat(120)}ü`
    await mkdir(join(place, 'in/sub'), { recursive: true })
    await writeFile(join(place, 'in/sub', name), 'content')
    await symlink(`sub/${name}`, join(place, 'in/link'))
    await run('tar', [`--format=${format}`, '-czf', join(place, 'a.tgz'), '-C', join(place, 'in'), '.'])
    const found: string[] = []
    const archive = await readFile(join(place, 'a.tgz'))
    for await (const { path } of readSourceArchive(cut(archive))) found.push(path)
    assert.deepEqual(found.toSorted(), ['link', 'sub', `sub/${name}`])
  })

test('an archive truncated anywhere is refused, and never read as a smaller one', async () => {
  const whole = archiveOf([
    { path: 'a', text: 'x'.repeat(700) },
    { path: 'b', text: 'y' }
  ])
  const end = whole.length - TAR_END.length
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 0, max: end - 1 }), length =>
      assert.rejects(read(whole.subarray(0, length)), TarError)
    ),
    { numRuns: 40 }
  )
})

test('damaged bytes are refused or change only their own entry', async () => {
  const whole = archiveOf([
    { path: 'dir/file', text: 'content' },
    { path: 'link', type: 'link', target: 'dir/file' }
  ])
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 0, max: whole.length - 1 }),
      fc.integer({ min: 1, max: 255 }),
      async (at, by) => {
        const damaged = Buffer.from(whole)
        damaged[at] = damaged[at]! ^ by
        await read(damaged).catch(error => assert.ok(error instanceof TarError, String(error)))
      }
    ),
    { numRuns: 100 }
  )
})

test('a header that claims a huge name or size is not buffered', async () => {
  const head = Buffer.from(tarHeader({ path: 'a', type: 'file', size: 0, isExecutable: false }))
  const claim = (flag: string, size: string) => {
    const bytes = Buffer.from(head)
    bytes.write(flag, 156)
    bytes.write(size, 124)
    bytes.write('        ', 148)
    bytes.write(
      `${bytes
        .reduce((sum, byte) => sum + byte, 0)
        .toString(8)
        .padStart(6, '0')}\0 `,
      148
    )
    return bytes
  }
  for (const flag of ['x', 'g', 'L', 'K'])
    await assert.rejects(read(claim(flag, '77777777777')), /longer than any path/)
  await assert.rejects(read(claim('0', '\u0080\0\0\0\0\0\0\u0001\0\0\0\0')), /damaged|too large/)
})

test('a source archive is unambiguous, and reaches nothing outside', async () => {
  await refused([{ path: '/etc/passwd', text: 'x' }], /is absolute/)
  await refused([{ path: '../up', text: 'x' }], /points outside/)
  await refused([{ path: 'a/../../up', text: 'x' }], /points outside/)
  await refused([{ path: 'a\\b', text: 'x' }], /backslashes/)
  await refused([{ path: 'a\nb', text: 'x' }], /control characters/)
  await refused([{ path: '.git/config', text: 'x' }], /leave that folder out/)
  await refused([{ path: 'sub/.GIT/hooks/x', text: 'x' }], /leave that folder out/)
  await refused(
    [
      { path: 'a', text: '1' },
      { path: './a', text: '2' }
    ],
    /twice/
  )
  await refused(
    [
      { path: 'a', text: '1' },
      { path: 'a/b', text: '2' }
    ],
    /goes through a file/
  )
  await refused(
    [
      { path: 'l', type: 'link', target: '.' },
      { path: 'l/b', text: '2' }
    ],
    /goes through a link/
  )
  await refused([{ path: 'l', type: 'link', target: '/etc' }], /points outside/)
  await refused([{ path: 'a/l', type: 'link', target: '../../etc' }], /points outside/)
  await refused([{ path: 'a/l', type: 'link', target: 'x/../../../etc' }], /points outside/)
  await refused([{ path: 'x'.repeat(256), text: 'x' }], /too long/)
  await refused([{ path: `${'d/'.repeat(65)}x`, text: 'x' }], /too deep/)
  await refused([{ path: 'only', type: 'directory' }], /no file/)
  await refused([{ path: 'a', text: 'x'.repeat(100) }], /more than/, { bytes: 99, entries: 5 })
  await refused(
    [
      { path: 'a', text: '' },
      { path: 'b', text: '' }
    ],
    /more than 1 entries/,
    { bytes: 99, entries: 1 }
  )
  assert.deepEqual(
    await pathsIn([
      { path: 'a/l', type: 'link', target: '../b' },
      { path: 'b', text: 'x' }
    ]),
    ['a/l', 'b']
  )
})

test('hard links, devices, pipes and sparse files are refused by their kind', async () => {
  for (const [flag, kind] of [
    ['1', 'hard link'],
    ['3', 'device'],
    ['4', 'device'],
    ['6', 'named pipe'],
    ['S', 'sparse'],
    ['V', 'of a type']
  ]) {
    const head = Buffer.from(tarHeader({ path: 'a', type: 'file', size: 0, isExecutable: false }))
    head.write(flag!, 156)
    head.write('        ', 148)
    head.write(
      `${head
        .reduce((sum, byte) => sum + byte, 0)
        .toString(8)
        .padStart(6, '0')}\0 `,
      148
    )
    await assert.rejects(read(Buffer.concat([head, TAR_END])), new RegExp(kind!))
  }
})

test('trailing data, data that is not gzip, and decompression bombs are refused', async () => {
  const all = async (bytes: Buffer, limits?: { bytes: number; entries: number }) => {
    for await (const _ of readSourceArchive(cut(bytes), limits));
  }
  const archive = archiveOf([{ path: 'a', text: 'x' }])
  await assert.rejects(all(gzipSync(Buffer.concat([archive, archive]))), /data after its end/)
  await assert.rejects(all(archive), /not compressed with gzip/)
  await assert.rejects(all(gzipSync(archive).subarray(0, -6)), /damaged or truncated/)
  await assert.rejects(
    all(gzipSync(Buffer.concat([archive, Buffer.alloc(1_000_000)])), { bytes: 10, entries: 1 }),
    /much larger/
  )
})

test('an error of the source of an archive is passed on unchanged', async () => {
  async function* failing(): AsyncGenerator<Uint8Array> {
    yield gzipSync(archiveOf([{ path: 'a', text: 'x' }])).subarray(0, 20)
    throw new Error('the line is dead')
  }
  await assert.rejects(async () => {
    for await (const _ of readSourceArchive(failing()));
  }, /the line is dead/)
})
