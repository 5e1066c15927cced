import { createHash, randomUUID } from 'node:crypto'
import { type FileHandle, open, unlink } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Static, Type } from '@sinclair/typebox'
import type { FastifyPluginAsync, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { hasCode } from './lib/errno.ts'
import { AppError, errors } from './lib/errors.ts'
import { type PluginInput, parseOptions } from './lib/options.ts'
import { takeOverTimeout } from './lib/own-timeout.ts'
import { routeConfig, useRouteConfig } from './lib/route-config.ts'

export const UploadsOptions = Type.Object(
  {
    types: Type.Array(Type.String({ pattern: '^[\\w.+-]+/[\\w.+-]+$' }), {
      default: ['application/gzip'],
      description: 'Content types accepted by routes with config.upload.'
    }),
    maxBytes: Type.Integer({ default: 67_108_864, minimum: 1, description: 'Maximum size of an upload in bytes.' }),
    stallTimeout: Type.Integer({
      default: 20_000,
      minimum: 1,
      description: 'Timeout of an upload without traffic, in milliseconds.'
    }),
    timeout: Type.Integer({ default: 900_000, minimum: 1, description: 'Total timeout in milliseconds.' }),
    concurrent: Type.Integer({ default: 8, minimum: 1, description: 'Concurrent uploads; more get 503.' }),
    directory: Type.String({
      default: '',
      description: 'Directory for uploads while they are checked. Empty: the temporary directory of the system.'
    })
  },
  { additionalProperties: false }
)
export type UploadsOptions = Static<typeof UploadsOptions>

/** A complete upload. It has no name in any directory, so it cannot outlive the process. */
export interface StoredUpload {
  readonly bytes: number
  /** SHA-256 in hexadecimal. */
  readonly digest: string
  /** The content from the start, in chunks of at most `chunkBytes`. */
  read(chunkBytes: number): AsyncIterable<Buffer>
}

/** The unread body of a request to a route with `config.upload`. */
export interface Upload {
  /**
   * Stores the upload as it arrives, passes it to `inspect` meanwhile, and to `use` once it is complete.
   * @param inspect may read some or all of it, and throws to refuse it
   * @throws AppError when it is too large, too slow or cut off
   */
  receive<T>(
    inspect: (chunks: AsyncIterable<Uint8Array>) => Promise<void>,
    use: (stored: StoredUpload) => Promise<T>
  ): Promise<T>
}

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The body is an upload: `request.body` is an {@link Upload}. */
    upload?: true
  }
}

/** Receives bodies that are too large for memory and too slow for `requestTimeout`, on routes that opt in. */
const uploads: FastifyPluginAsync<PluginInput<typeof UploadsOptions>> = async (app, input) => {
  const options = parseOptions('rhone-uploads', UploadsOptions, input, [])
  const running = new Set<FastifyRequest>()
  useRouteConfig(app)

  app.addHook('onRoute', route => {
    if (route.config?.upload !== true) return
    route.onRequest = [
      ...[route.onRequest ?? []].flat(),
      (request, reply, next) => {
        const length = Number(request.headers['content-length'] ?? 0)
        if (length > options.maxBytes) return next(tooLarge(options.maxBytes))
        if (running.size >= options.concurrent) return next(errors.unavailable(5, 'Too many concurrent uploads'))
        running.add(request)
        reply.raw.once('close', () => running.delete(request))
        // The server's `requestTimeout` is meant for bodies that fit into memory. From here on, our own limits apply.
        takeOverTimeout(request.raw)
        next()
      }
    ]
  })

  app.addContentTypeParser(options.types, (request: FastifyRequest, payload: IncomingMessage, parsed) => {
    if (routeConfig(request).upload === true) parsed(null, new Arriving(payload, options))
    else parsed(new AppError('UNSUPPORTED_MEDIA_TYPE'))
  })
}

const tooLarge = (most: number) =>
  new AppError('PAYLOAD_TOO_LARGE', { detail: `An upload may have at most ${Math.floor(most / 1_048_576)} MiB` })

class Arriving implements Upload {
  readonly #payload: IncomingMessage
  readonly #options: UploadsOptions
  #digest: string | undefined

  constructor(payload: IncomingMessage, options: UploadsOptions) {
    this.#payload = payload
    this.#options = options
  }

  /** Stands for an upload where requests are compared or logged. */
  toJSON(): { digest: string | null } {
    return { digest: this.#digest ?? null }
  }

  async receive<T>(
    inspect: (chunks: AsyncIterable<Uint8Array>) => Promise<void>,
    use: (stored: StoredUpload) => Promise<T>
  ): Promise<T> {
    const file = await openNameless(this.#options.directory || tmpdir())
    const chunks = this.#bounded()
    try {
      const hash = createHash('sha256')
      let bytes = 0
      const stored = async function* (): AsyncGenerator<Uint8Array> {
        for (;;) {
          const { done, value } = await chunks.next()
          if (done === true) return
          hash.update(value)
          bytes += value.length
          await write(file, value)
          yield value
        }
      }
      await inspect(stored())
      // An inspection may end before the upload does.
      for await (const _ of stored());
      this.#digest = hash.digest('hex')
      return await use({
        bytes,
        digest: this.#digest,
        read: highWaterMark => file.createReadStream({ start: 0, autoClose: false, highWaterMark })
      })
    } finally {
      await chunks.return(undefined)
      await file.close()
    }
  }

  /** The body, within its limits. A refusal leaves the connection as it is, so that the reply can be sent. */
  async *#bounded(): AsyncGenerator<Buffer> {
    const { maxBytes, stallTimeout, timeout } = this.#options
    const chunks = this.#payload.iterator({ destroyOnReturn: false })
    const { promise: late, reject } = Promise.withResolvers<never>()
    late.catch(() => {}) // it may reject after the end
    const stall = setTimeout(() => reject(tooSlow('no data arrived for too long')), stallTimeout)
    const end = setTimeout(() => reject(tooSlow('it took too long in total')), timeout)
    let bytes = 0
    try {
      for (;;) {
        const { done, value } = await Promise.race([chunks.next(), late])
        if (done === true) break
        bytes += value.length
        if (bytes > maxBytes) throw tooLarge(maxBytes)
        yield value
        stall.refresh()
      }
      if (this.#payload.complete === false) throw errors.badRequest('The upload was interrupted')
    } catch (error) {
      if (hasCode(error, 'ECONNRESET', 'ERR_STREAM_PREMATURE_CLOSE'))
        throw errors.badRequest('The upload was interrupted')
      throw error
    } finally {
      clearTimeout(stall)
      clearTimeout(end)
    }
  }
}

const tooSlow = (detail: string) =>
  new AppError('BAD_REQUEST', { statusCode: 408, message: 'The upload was too slow', detail })

/** An unnamed file, which disappears with its handle, even if this process is killed. */
async function openNameless(directory: string): Promise<FileHandle> {
  const path = join(directory, `rhone-upload-${randomUUID()}`)
  const file = await open(path, 'wx+', 0o600)
  await unlink(path)
  return file
}

async function write(file: FileHandle, chunk: Buffer | Uint8Array): Promise<void> {
  try {
    await file.writeFile(chunk)
  } catch (error) {
    if (hasCode(error, 'ENOSPC', 'EDQUOT')) throw errors.unavailable(60, 'No disk space is left for uploads', error)
    throw error
  }
}

export default fp(uploads, { name: 'rhone-uploads', fastify: '5.x' })
