import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { extname } from 'node:path'
import { promisify } from 'node:util'
import { brotliCompress, constants, zstdCompress } from 'node:zlib'
import { type Static, Type } from '@sinclair/typebox'
import type { FastifyContextConfig, FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { errors } from './lib/errors.ts'
import { type PluginInput, parseOptions } from './lib/options.ts'

export const AssetsOptions = Type.Object(
  {
    prefix: Type.String({
      default: '/assets/',
      pattern: '^/(.*/)?$',
      description: 'URL prefix of all assets.'
    }),
    files: Type.Record(Type.String({ pattern: '^[\\w.-]+$' }), Type.String({ minLength: 1 }), {
      default: {},
      description: 'File paths by the name that pages use, such as app.css. Read once, at boot.'
    })
  },
  { additionalProperties: false }
)
export type AssetsOptions = Static<typeof AssetsOptions>

export interface Assets {
  /**
   * The URL of an asset. It contains a hash of the content, so browsers may cache it indefinitely.
   * @throws Error when there is no such asset
   */
  href(name: string): string
}

declare module 'fastify' {
  interface FastifyInstance {
    assets: Assets
  }
}

const NAME = 'rhone-assets'
const OPEN = { access: 'public', rateClass: 'general', slo: 'detail', cors: false, maintenance: false } as const
const FOREVER = 'public, max-age=31536000, immutable'

/** A worker script follows the policy of its own response, not the page's: it may call this server. */
const WORKER_POLICY = "default-src 'none'; connect-src 'self'; frame-ancestors 'none'"

const TYPES: Readonly<Record<string, string>> = {
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.json': 'application/json; charset=utf-8',
  '.txt': 'text/plain; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.ico': 'image/x-icon',
  '.woff2': 'font/woff2'
}
/** Compressible types; images and fonts are compressed already. */
const IS_TEXT = /^text\/|json|svg/

const CODINGS = { br: promisify(brotliCompress), zstd: promisify(zstdCompress) } as const
type Coding = keyof typeof CODINGS
/** Best compression first. */
const PREFERRED = ['br', 'zstd'] as const satisfies readonly Coding[]
const SETTINGS = {
  br: { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } },
  zstd: { params: { [constants.ZSTD_c_compressionLevel]: 19 } }
} as const

interface Asset {
  readonly type: string
  readonly hash: string
  readonly body: Buffer
  /** Computed on first request, then kept. */
  readonly compressed: Map<Coding, Promise<Buffer>>
}

/** Serves the files of pages from memory, under URLs that change with their content. */
const assets: FastifyPluginAsync<PluginInput<typeof AssetsOptions>> = async (app, input) => {
  const { prefix, files } = parseOptions(NAME, AssetsOptions, input)
  const urls = new Map<string, string>()
  const byFile = new Map<string, Asset>()
  await Promise.all(
    Object.entries(files).map(async ([name, path]) => {
      const asset = await load(name, path)
      const file = fileName(name, asset.hash)
      urls.set(name, prefix + file)
      byFile.set(file, asset)
    })
  )

  app.decorate('assets', {
    href(name) {
      const url = urls.get(name)
      if (url === undefined) throw new Error(`${NAME}: unknown asset "${name}"`)
      return url
    }
  })

  const config: FastifyContextConfig = OPEN
  app.get<{ Params: { file: string } }>(`${prefix}:file`, { config, schema: { hide: true } }, (request, reply) => {
    const asset = byFile.get(request.params.file)
    if (asset === undefined) throw errors.notFound('asset')
    return send(request, reply, asset)
  })
}

async function load(name: string, path: string): Promise<Asset> {
  const type = TYPES[extname(name)]
  if (type === undefined)
    throw new Error(`${NAME}: the type of "${name}" is not one of ${Object.keys(TYPES).join(', ')}`)
  const body = await readFile(path).catch(cause => {
    throw new Error(`${NAME}: the file of "${name}" cannot be read: ${(cause as Error).message}`, { cause })
  })
  const hash = createHash('sha256').update(body).digest('base64url').slice(0, 12)
  return { type, hash, body, compressed: new Map() }
}

/** `app.css` becomes `app-HASH.css`. */
function fileName(name: string, hash: string): string {
  const extension = extname(name)
  return `${name.slice(0, name.length - extension.length)}-${hash}${extension}`
}

async function send(request: FastifyRequest, reply: FastifyReply, asset: Asset): Promise<FastifyReply> {
  const coding = IS_TEXT.test(asset.type) ? codingOf(request.headers['accept-encoding']) : undefined
  const etag = `"${asset.hash}${coding === undefined ? '' : `-${coding}`}"`
  // `security-headers` sets nosniff too, but an asset must not become a script without that plugin either.
  reply.headers({ etag, 'cache-control': FOREVER, 'x-content-type-options': 'nosniff' })
  if (IS_TEXT.test(asset.type)) reply.header('vary', 'Accept-Encoding')
  if (asset.type === TYPES['.js']) reply.header('content-security-policy', WORKER_POLICY)
  if (request.headers['if-none-match']?.includes(etag)) return reply.code(304).send()
  if (coding === undefined) return reply.type(asset.type).send(asset.body)
  const body = await compressedBy(coding, asset)
  return reply.type(asset.type).header('content-encoding', coding).send(body)
}

function codingOf(accepted = ''): Coding | undefined {
  const refused = /\b(br|zstd)\s*;\s*q=0(?:\.0*)?\s*(?:,|$)/g
  const usable = accepted.replaceAll(refused, '')
  return PREFERRED.find(coding => new RegExp(`(?:^|[\\s,])${coding}\\b`).test(usable))
}

function compressedBy(coding: Coding, { body, compressed }: Asset): Promise<Buffer> {
  let made = compressed.get(coding)
  if (made === undefined) {
    made = coding === 'br' ? CODINGS.br(body, SETTINGS.br) : CODINGS.zstd(body, SETTINGS.zstd)
    compressed.set(coding, made)
  }
  return made
}

export default fp(assets, { name: NAME, fastify: '5.x' })
