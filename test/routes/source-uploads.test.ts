import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readdir, readlink } from 'node:fs/promises'
import { type ClientRequest, type IncomingMessage, request } from 'node:http'
import { text } from 'node:stream/consumers'
import { after, describe, test } from 'node:test'
import { createGzip, gzipSync } from 'node:zlib'
import { eq } from 'drizzle-orm'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { deployments, sourceArchiveChunks, sourceArchives } from '../../drizzle/schema.ts'
import { padding, TAR_END, type TarMember, tarHeader } from '../../plugins/lib/tar.ts'
import uploads from '../../plugins/uploads.ts'
import routes, { type RoutesOptions } from '../../routes/index.ts'
import { Ledger } from '../../src/workflows/deploying/ledger.ts'
import { eventually } from '../support/eventually.ts'
import { platform } from './support.ts'

/* Hostile source uploads, through the whole server. The validation of tar archives is tested next to the reader; here,
 * a refusal must leave no deployment, row or file, and explain the reason.
 */

async function withLedger(app: FastifyInstance, options: RoutesOptions) {
  const ledger = new Ledger({
    db: () => app.db,
    secretBox: options.secretBox,
    send: async () => {},
    record: (tx, event) => app.audit.recordSystem(tx, event),
    count() {}
  })
  await app.register(routes, { ...options, ledger, takesSource: true })
}

/** The shipped plugin with shorter timeouts. */
const impatient = fp(async app => void (await app.register(uploads, { stallTimeout: 1_500, concurrent: 3 })), {
  name: 'rhone-uploads'
})
const swaps = { deploying: false, builder: false, deployer: false, routes: withLedger, uploads: impatient } as const
const server = await platform({ after }, swaps)
const { db } = server.app
const url = await server.app.listen({ host: '127.0.0.1', port: 0 })
const { owner, member, stranger } = await server.addPeople()

let count = 0
async function addApp() {
  const app = (await owner.call('POST', '/api/v1/apps', { name: `uploads ${++count}` })).json()
  return { id: app.id as string, path: `/api/v1/apps/${app.id}/deploy/source` }
}
type App = Awaited<ReturnType<typeof addApp>>

const file = (path: string, content = 'x'): Buffer[] => [
  tarHeader({ path, type: 'file', size: content.length, isExecutable: false }),
  Buffer.from(content),
  padding(content.length)
]
const link = (path: string, target: string) =>
  tarHeader({ path, type: 'link', size: 0, isExecutable: false, target } satisfies TarMember)
const packed = (...parts: (Buffer | Buffer[])[]) => gzipSync(Buffer.concat([...parts.flat(), TAR_END]))
const GOOD = packed(file('package.json', '{"scripts":{"start":"node ."}}'), file('index.js'))

/** A header of any kind, with a checksum that fits. */
function header(path: string, flag: string, { size = 0 } = {}): Buffer {
  const block = tarHeader({ path, type: 'file', size, isExecutable: false })
  block.write(flag, 156)
  block.write('        ', 148)
  const sum = block.reduce((total, byte) => total + byte, 0)
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148)
  return block
}

const headersOf = (token: string, more: Record<string, string> = {}) => ({
  authorization: `Bearer ${token}`,
  'content-type': 'application/gzip',
  ...more
})

async function upload(app: App, body: Buffer, more: Record<string, string> = {}, token = owner.token) {
  const reply = await fetch(url + app.path, { method: 'POST', headers: headersOf(token, more), body })
  const said = (await reply.json()) as { id?: string; sourceId?: string; error: { code: string; message: string } }
  return { status: reply.status, headers: reply.headers, body: said }
}

/** An upload that the test sends piece by piece. */
function begin(app: App, more: Record<string, string> = {}): { sent: ClientRequest; reply: Promise<IncomingMessage> } {
  const sent = request(url + app.path, { method: 'POST', headers: headersOf(owner.token, more), agent: false })
  const reply = once(sent, 'response').then(([message]) => message as IncomingMessage)
  reply.catch(() => {}) // some hang up before there is one
  return { sent, reply }
}

/** Files of uploads that this process still has open; they have no name. */
async function openFiles(): Promise<string[]> {
  const found = await Promise.all(
    (await readdir('/proc/self/fd')).map(fd => readlink(`/proc/self/fd/${fd}`).catch(() => ''))
  )
  return found.filter(path => path.includes('rhone-upload-'))
}

async function leavesNothing(app: App): Promise<void> {
  assert.equal(await db.$count(deployments, eq(deployments.appId, app.id)), 0)
  assert.equal(await db.$count(sourceArchives, eq(sourceArchives.appId, app.id)), 0)
  if (process.platform === 'linux') await eventually(async () => (await openFiles()).length === 0)
}

describe('a hostile archive', () => {
  const cases: [what: string, archive: () => Buffer, why: RegExp][] = [
    ['with a path that climbs', () => packed(file('a/../../etc/passwd')), /points outside the app's folder/],
    ['with an absolute path', () => packed(file('/etc/passwd')), /is absolute/],
    ['with a link that leads out', () => packed(file('a'), link('b', '../../etc')), /link "b" points outside/],
    ['with an absolute link', () => packed(file('a'), link('b', '/etc/passwd')), /link "b" points outside/],
    ['with a file through a link', () => packed(file('a/x'), link('b', 'a'), file('b/y')), /goes through a link/],
    ['with a device', () => packed(header('null', '3')), /is a device/],
    ['with a block device', () => packed(header('disk', '4')), /is a device/],
    ['with a named pipe', () => packed(header('pipe', '6')), /is a named pipe/],
    ['with a hard link', () => packed(file('a'), header('b', '1')), /is a hard link/],
    ['with a sparse file', () => packed(header('huge', 'S', { size: 512 })), /is a sparse file/],
    ['with a path twice', () => packed(file('a'), file('a')), /is in the archive twice/],
    ['with a hook of git', () => packed(file('.git/hooks/post-checkout')), /\.git folder/],
    ['with a file of 2 GiB that was never sent', () => packed(header('huge', '0', { size: 2 ** 31 })), /1024 MiB/],
    ['of nothing', () => packed(), /contains no files/],
    ['that is cut off', () => GOOD.subarray(0, GOOD.length - 20), /damaged or truncated/],
    ['that is no gzip', () => Buffer.from('PK\u0003\u0004 a zip file'), /not compressed with gzip/],
    ['that is no tar', () => gzipSync(Buffer.alloc(2_048, 'x')), /not a tar archive|damaged/],
    [
      'with something after its end',
      () => gzipSync(Buffer.concat([...file('a'), TAR_END, ...file('b')])),
      /data after its end/
    ],
    [
      'of zeros without end',
      () => gzipSync(Buffer.concat([...file('a'), TAR_END, Buffer.alloc(8 << 20)])),
      /too much padding/
    ]
  ]
  for (const [what, archive, why] of cases)
    test(`${what} is refused with an explanation, and leaves nothing`, async () => {
      const app = await addApp()
      const { status, body } = await upload(app, archive())
      assert.equal(status, 400, JSON.stringify(body))
      assert.match(body.error.message, why)
      await leavesNothing(app)
    })

  test('of 60,000 files is refused at the 50,001st', async () => {
    const app = await addApp()
    const { sent, reply } = begin(app)
    const gzip = createGzip({ level: 0 })
    gzip.on('error', () => {}).pipe(sent.on('error', () => {}))
    const writing = writeMany(gzip)
    const answer = await reply
    assert.equal(answer.statusCode, 400)
    assert.match(await text(answer), /more than 50000 entries/)
    sent.destroy()
    gzip.destroy()
    await writing
    await leavesNothing(app)
  })
})

/** Empty files with numbers for names: only the digits and the checksum of the header differ. */
async function writeMany(gzip: ReturnType<typeof createGzip>): Promise<void> {
  const model = tarHeader({ path: 'f000000', type: 'file', size: 0, isExecutable: false })
  const base = Number.parseInt(model.toString('latin1', 148, 154), 8)
  for (let from = 0; from < 60_000; from += 1_000) {
    const blocks = Buffer.alloc(512 * 1_000)
    for (let i = 0; i < 1_000; i++) {
      const digits = String(from + i).padStart(6, '0')
      const sum = base + [...digits].reduce((total, digit) => total + Number(digit), 0)
      model.copy(blocks, i * 512)
      blocks.write(digits, i * 512 + 1)
      blocks.write(sum.toString(8).padStart(6, '0'), i * 512 + 148)
    }
    if (gzip.destroyed) return
    if (!gzip.write(blocks)) await Promise.race([once(gzip, 'drain'), once(gzip, 'close')]).catch(() => {})
  }
  gzip.end()
}

describe('a client', () => {
  test('that sends another type, or none, is told what to send', async () => {
    const app = await addApp()
    for (const type of ['application/zip', 'application/json', 'multipart/form-data; boundary=x']) {
      const { status } = await upload(app, GOOD, { 'content-type': type })
      assert.ok(status === 415 || status === 400, `${type}: ${status}`)
    }
    const nothing = await fetch(url + app.path, { method: 'POST', headers: { authorization: `Bearer ${owner.token}` } })
    assert.equal(nothing.status, 415)
    assert.match(await nothing.text(), /application\/gzip/)
    await leavesNothing(app)
  })

  test('that announces too much is refused before sending', async () => {
    const app = await addApp()
    const { sent, reply } = begin(app, { 'content-length': String(2 ** 30) })
    sent.on('error', () => {}).flushHeaders()
    const answer = await reply
    assert.equal(answer.statusCode, 413)
    assert.match(await text(answer), /at most 64 MiB/)
    sent.destroy()
    await leavesNothing(app)
  })

  test('that stalls or disconnects is dropped', async () => {
    const app = await addApp()
    const silent = begin(app)
    silent.sent.on('error', () => {}).write(GOOD.subarray(0, 30))
    const answer = await silent.reply
    assert.equal(answer.statusCode, 408)
    assert.match(await text(answer), /too slow/)
    silent.sent.destroy()

    const gone = begin(app)
    const sent = Promise.withResolvers<void>()
    gone.sent.on('error', () => {}).write(GOOD.subarray(0, 30), () => sent.resolve())
    await sent.promise
    gone.sent.destroy()
    await leavesNothing(app)
  })

  test('that may not deploy folders is refused before the upload is looked at', async () => {
    const app = await addApp()
    const refused = await Promise.all(
      [member, stranger].map(async ({ token }) => (await upload(app, Buffer.from('x'), {}, token)).status)
    )
    assert.deepEqual(refused, [403, 404])
    await leavesNothing(app)
  })

  test('that sends the same upload twice with one key creates one deployment', async () => {
    const app = await addApp()
    const key = { 'idempotency-key': `upload-${app.id}` }
    const [first, again] = [await upload(app, GOOD, key), await upload(app, GOOD, key)]
    assert.deepEqual([first.status, again.status], [202, 202])
    assert.equal(first.body.id, again.body.id)
    assert.equal(await db.$count(deployments, eq(deployments.appId, app.id)), 1)
    const other = await upload(app, packed(file('other.js')), key)
    assert.deepEqual([other.status, other.body.error.code], [422, 'IDEMPOTENCY_MISMATCH'])
    assert.equal(await db.$count(deployments, eq(deployments.appId, app.id)), 1)
  })

  test('that sends two at once gets two deployments, and the later one has its source', async () => {
    const app = await addApp()
    const replies = await Promise.all([upload(app, GOOD), upload(app, packed(file('second.js')))])
    assert.deepEqual(
      replies.map(({ status }) => status),
      [202, 202]
    )
    const kept = await db.select().from(sourceArchives).where(eq(sourceArchives.appId, app.id))
    assert.equal(kept.length, 1, 'one archive for each app')
    assert.ok(replies.some(({ body }) => body.sourceId === kept[0]!.id))
    const orphans = await db.select().from(sourceArchiveChunks).where(eq(sourceArchiveChunks.archiveId, kept[0]!.id))
    assert.equal(orphans.length, 1)
    const rows = await db.select().from(deployments).where(eq(deployments.appId, app.id))
    assert.deepEqual([rows.length, rows.filter(({ status }) => status === 'pending').length], [2, 1])
  })

  test('beyond the concurrency limit is told to retry', {
    skip: process.platform !== 'linux'
  }, async () => {
    const app = await addApp()
    const waiting = [begin(app), begin(app), begin(app)]
    let at = 10
    for (const { sent } of waiting) sent.on('error', () => {}).write(GOOD.subarray(0, at))
    // A byte now and then, so that none of them counts as silent meanwhile.
    const feeding = setInterval(() => {
      for (const { sent } of waiting) sent.write(GOOD.subarray(at, at + 1))
      at++
    }, 300)
    await eventually(async () => (await openFiles()).length === 3)
    const { status, headers } = await upload(app, GOOD)
    clearInterval(feeding)
    for (const { sent } of waiting) sent.destroy()
    assert.equal(status, 503)
    assert.ok(Number(headers.get('retry-after')) > 0)
    await leavesNothing(app)
  })
})
