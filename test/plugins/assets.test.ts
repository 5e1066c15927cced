import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { brotliDecompressSync, zstdDecompressSync } from 'node:zlib'
import Fastify, { type FastifyInstance } from 'fastify'
import assets from '../../plugins/assets.ts'
import errorsPlugin from '../../plugins/errors/index.ts'
import maintenance from '../../plugins/maintenance/index.ts'
import securityHeaders from '../../plugins/security-headers.ts'

const STYLE = 'body { color: navy }\n'.repeat(50)

async function folder(t: TestContext, files: Record<string, string | Buffer>): Promise<Record<string, string>> {
  const path = await mkdtemp(join(tmpdir(), 'rhone-assets-'))
  t.after(() => rm(path, { recursive: true }))
  const entries = Object.entries(files).map(async ([name, content]) => {
    await writeFile(join(path, name), content)
    return [name, join(path, name)] as const
  })
  return Object.fromEntries(await Promise.all(entries))
}

async function build(t: TestContext, files: Record<string, string | Buffer>): Promise<FastifyInstance> {
  const app = Fastify()
  t.after(() => app.close())
  await app.register(errorsPlugin)
  await app.register(assets, { files: await folder(t, files) })
  return app
}

describe('an asset', () => {
  it('has a URL that changes with its content, and is cached forever', async t => {
    const [one, same, other] = [
      await build(t, { 'app.css': STYLE }),
      await build(t, { 'app.css': STYLE }),
      await build(t, { 'app.css': 'b {}' })
    ]
    const url = one.assets.href('app.css')
    assert.match(url, /^\/assets\/app-[\w-]{12}\.css$/)
    assert.equal(same.assets.href('app.css'), url)
    assert.notEqual(other.assets.href('app.css'), url)

    const { statusCode, headers, body } = await one.inject(url)
    assert.deepEqual([statusCode, body], [200, STYLE])
    assert.equal(headers['content-type'], 'text/css; charset=utf-8')
    assert.equal(headers['cache-control'], 'public, max-age=31536000, immutable')
    assert.equal(headers['x-content-type-options'], 'nosniff')
  })

  it('is sent with the smallest encoding that the client accepts', async t => {
    const app = await build(t, { 'app.css': STYLE })
    const url = app.assets.href('app.css')
    const ask = (accepted: string) => app.inject({ url, headers: { 'accept-encoding': accepted } })
    const brotli = await ask('gzip, deflate, br, zstd')
    assert.deepEqual([brotli.headers['content-encoding'], brotli.headers.vary], ['br', 'Accept-Encoding'])
    assert.equal(brotliDecompressSync(brotli.rawPayload).toString(), STYLE)
    const zstd = await ask('br;q=0, zstd')
    assert.equal(zstd.headers['content-encoding'], 'zstd')
    assert.equal(zstdDecompressSync(zstd.rawPayload).toString(), STYLE)
    for (const accepted of ['gzip', 'br;q=0', 'brotli']) {
      const plain = await ask(accepted)
      assert.equal(plain.headers['content-encoding'], undefined, accepted)
      assert.equal(plain.body, STYLE)
    }
    assert.notEqual(brotli.headers.etag, zstd.headers.etag)
    const known = await app.inject({
      url,
      headers: { 'accept-encoding': 'br', 'if-none-match': String(brotli.headers.etag) }
    })
    assert.deepEqual([known.statusCode, known.body], [304, ''])
  })

  it('that is already compressed is sent unchanged', async t => {
    const app = await build(t, { 'picture.png': Buffer.from([137, 80, 78, 71]) })
    const reply = await app.inject({ url: app.assets.href('picture.png'), headers: { 'accept-encoding': 'br' } })
    assert.deepEqual([reply.headers['content-type'], reply.headers['content-encoding']], ['image/png', undefined])
    assert.deepEqual([...reply.rawPayload], [137, 80, 78, 71])
  })

  it('is served only under its hash, not under its path', async t => {
    const app = await build(t, { 'app.css': STYLE })
    for (const url of ['/assets/app.css', '/assets/app-AAAAAAAAAAAA.css', '/assets/..%2fpackage.json', '/assets/'])
      assert.equal((await app.inject(url)).statusCode, 404, url)
  })

  it('is served while the platform is closed, with its own caching and the common headers', async t => {
    const app = Fastify()
    t.after(() => app.close())
    await app.register(errorsPlugin)
    await app.register(securityHeaders)
    await app.register(maintenance)
    await app.register(assets, { files: await folder(t, { 'app.css': STYLE }) })
    await app.ready()
    await app.maintenance.set({ enabled: true }, { by: 'test' } as never)
    assert.equal((await app.inject('/')).statusCode, 503)
    const reply = await app.inject(app.assets.href('app.css'))
    assert.deepEqual([reply.statusCode, reply.headers['cache-control']], [200, 'public, max-age=31536000, immutable'])
  })
})

describe('the plugin', () => {
  it('names a missing file, and one without a known type', async t => {
    const app = Fastify()
    t.after(() => app.close())
    await assert.rejects(
      async () => app.register(assets, { files: { 'gone.css': '/nowhere/gone.css' } }),
      /the file of "gone\.css" cannot be read/
    )
    const other = Fastify()
    t.after(() => other.close())
    await assert.rejects(
      async () => other.register(assets, { files: { 'a.exe': '/nowhere' } }),
      /the type of "a\.exe" is not one of \.css/
    )
  })

  it('fails a page that names an asset which does not exist', async t => {
    const app = await build(t, {})
    assert.throws(() => app.assets.href('nothing.css'), /unknown asset "nothing\.css"/)
  })

  it('serves nothing if it is absent', async t => {
    const app = Fastify()
    t.after(() => app.close())
    assert.equal((await app.inject('/assets/app.css')).statusCode, 404)
  })
})
