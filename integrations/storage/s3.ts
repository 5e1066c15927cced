import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import type { AwsClient } from 'aws4fetch'
import { loadPackages } from '../../plugins/lib/packages.ts'
import { inPieces } from './pieces.ts'
import { type Content, checkName, type Storage, StorageError, type Stored, type StoredObject } from './port.ts'
import { elements, textOf } from './xml.ts'

export interface S3Settings {
  readonly bucket: string
  /** Prefix of all names, without slashes at its ends. */
  readonly prefix: string
  /** Origin of the service; if null, that of AWS in this region. */
  readonly endpoint: string | null
  readonly region: string
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly sessionToken?: string | undefined
  /** Bytes per part, the same for all but the last, as some services require. An object has at most 10,000 parts. */
  readonly partSize?: number
  /** Milliseconds for a request of at most one part. */
  readonly timeout?: number
  /** Milliseconds before the first retry of a failed request; doubles each time. */
  readonly backoff?: number
}

const PART_SIZE = 8 * 1024 * 1024
const MOST_PARTS = 10_000
const TIMEOUT = 120_000
const ATTEMPTS = 4
const BACKOFF = 500
const DAY = 86_400_000

interface Call {
  readonly method: 'GET' | 'PUT' | 'POST' | 'DELETE'
  readonly name?: string
  readonly query?: Record<string, string>
  readonly headers?: Record<string, string>
  readonly body?: Uint8Array | string
  readonly signal?: AbortSignal | undefined
  /** The reply is a stream, as slow as its reader: the time limit covers its head alone. */
  readonly streams?: true
}

/**
 * Stores objects in a bucket of S3 or a compatible service. Large objects are sent in parts, each with its SHA-256 in
 * the signature, so that the service refuses damaged parts. An object never replaces another one.
 */
export function s3Storage(settings: S3Settings): Storage {
  const { bucket, prefix, endpoint, region, partSize = PART_SIZE, timeout = TIMEOUT, backoff = BACKOFF } = settings
  const origin = endpoint ?? `https://s3.${region}.amazonaws.com`
  const keyOf = (name: string) => (prefix === '' ? name : `${prefix}/${name}`)
  let client: Promise<AwsClient> | undefined

  async function signer(): Promise<AwsClient> {
    client ??= loadPackages('rhone-storage', ['aws4fetch'], () => import('aws4fetch')).then(
      ({ AwsClient }) =>
        new AwsClient({
          accessKeyId: settings.accessKeyId,
          secretAccessKey: settings.secretAccessKey,
          ...(settings.sessionToken !== undefined && { sessionToken: settings.sessionToken }),
          service: 's3',
          region
        })
    )
    return client
  }

  /** Sends a request until the answer is one that a retry would not change. */
  async function call(request: Call): Promise<Response> {
    for (let attempt = 1; ; attempt++) {
      const outcome = await attemptOf(request)
      if (outcome instanceof Response && outcome.ok) return outcome
      const problem = outcome instanceof Response ? await refusal(request, outcome) : unreachable(request, outcome)
      const isFinal = outcome instanceof Response && outcome.status < 500 && outcome.status !== 429
      if (isFinal || attempt === ATTEMPTS || request.signal?.aborted) throw problem
      await delay(backoff * 2 ** (attempt - 1) * (0.5 + Math.random()), undefined, { signal: request.signal })
    }
  }

  async function attemptOf({ method, name, query, headers, body, signal, streams }: Call): Promise<Response | Error> {
    const url = new URL(`${origin}/${bucket}${name === undefined ? '' : `/${keyOf(checkName(name))}`}`)
    for (const [key, value] of Object.entries(query ?? {})) url.searchParams.set(key, value)
    const sent = typeof body === 'string' ? Buffer.from(body) : body
    const sha256 = createHash('sha256')
      .update(sent ?? '')
      .digest('hex')
    const aws = await signer()
    const signed = await aws.sign(url.href, {
      method,
      headers: { ...headers, 'x-amz-content-sha256': sha256 },
      ...(sent && { body: sent as Uint8Array<ArrayBuffer> })
    })
    const limit = new AbortController()
    const timer = setTimeout(() => limit.abort(new DOMException('', 'TimeoutError')), timeout).unref()
    try {
      const ending = signal ? AbortSignal.any([signal, limit.signal]) : limit.signal
      const response = await fetch(signed, { redirect: 'error', signal: ending })
      if (streams) clearTimeout(timer)
      return response
    } catch (error) {
      clearTimeout(timer)
      return error as Error
    }
  }

  async function refusal({ method, name }: Call, response: Response): Promise<StorageError> {
    const text = await response.text().catch(() => '')
    const code = textOf(text, 'Code') ?? `status ${response.status}`
    const what = `${method} ${name === undefined ? bucket : keyOf(name)} at ${origin}`
    const message = `${what} was refused: ${code} ${textOf(text, 'Message') ?? ''}`.trim()
    if (response.status === 404 && code !== 'NoSuchBucket') return new StorageError('missing', `${name} does not exist`)
    if (response.status === 409 || response.status === 412)
      return new StorageError('exists', `${name} already exists (${code})`)
    return new StorageError(response.status === 401 || response.status === 403 ? 'denied' : 'failed', message)
  }

  function unreachable({ method, name = bucket }: Call, cause: Error): StorageError {
    const why = cause.name === 'TimeoutError' ? `no answer within ${timeout} ms` : reasonOf(cause)
    return new StorageError('failed', `${method} ${name} at ${origin}: ${why}`, { cause })
  }

  async function put(name: string, content: Content, signal?: AbortSignal): Promise<Stored> {
    const hash = createHash('sha256')
    let bytes = 0
    const upload = new Upload(name, signal)
    try {
      for await (const piece of inPieces(content, partSize)) {
        signal?.throwIfAborted()
        hash.update(piece)
        bytes += piece.length
        await upload.add(piece)
      }
      await upload.complete()
    } catch (error) {
      await upload.abort()
      throw error
    }
    return { bytes, sha256: hash.digest('hex') }
  }

  /** Sends one piece as a plain object, and more as the parts of a multipart upload. */
  class Upload {
    readonly #name: string
    readonly #signal: AbortSignal | undefined
    readonly #etags: string[] = []
    #id: string | undefined
    /** Held back, since only the next piece shows whether it is the last. */
    #held: Buffer | undefined

    constructor(name: string, signal: AbortSignal | undefined) {
      this.#name = name
      this.#signal = signal
    }

    async add(piece: Buffer): Promise<void> {
      if (this.#held !== undefined) await this.#sendPart(this.#held)
      this.#held = piece
    }

    async complete(): Promise<void> {
      const last = this.#held ?? Buffer.alloc(0)
      if (this.#id === undefined) return this.#once(headers => ({ method: 'PUT', headers, body: last }))
      await this.#sendPart(last)
      const parts = this.#etags.map((etag, i) => `<Part><PartNumber>${i + 1}</PartNumber><ETag>${etag}</ETag></Part>`)
      const body = `<CompleteMultipartUpload>${parts.join('')}</CompleteMultipartUpload>`
      await this.#once(headers => ({ method: 'POST', query: { uploadId: this.#id! }, headers, body }))
      this.#id = undefined
    }

    async abort(): Promise<void> {
      if (this.#id === undefined) return
      // Without the caller's signal, which may be why this runs. `tidy` removes what remains.
      await call({ method: 'DELETE', name: this.#name, query: { uploadId: this.#id } }).catch(() => {})
    }

    async #sendPart(body: Buffer): Promise<void> {
      if (this.#etags.length === MOST_PARTS)
        throw new StorageError('failed', `${this.#name} is larger than ${MOST_PARTS} parts of ${partSize} bytes`)
      this.#id ??= await this.#begin()
      const query = { partNumber: String(this.#etags.length + 1), uploadId: this.#id }
      const response = await call({ method: 'PUT', name: this.#name, query, body, signal: this.#signal })
      await response.arrayBuffer()
      const etag = response.headers.get('etag')
      if (etag === null) throw new StorageError('failed', `${origin} acknowledged a part without an ETag`)
      this.#etags.push(etag)
    }

    async #begin(): Promise<string> {
      const response = await call({ method: 'POST', name: this.#name, query: { uploads: '' }, signal: this.#signal })
      const id = textOf(await response.text(), 'UploadId')
      if (id === undefined) throw new StorageError('failed', `${origin} started an upload without an id`)
      return id
    }

    /**
     * Stores the object under its name, unless the name is taken. If the service has no conditional writes, it is asked
     * first: names are random, so a race for one is not a concern.
     */
    async #once(requestOf: (headers: Record<string, string>) => Omit<Call, 'name' | 'signal'>): Promise<void> {
      const send = (headers: Record<string, string>) =>
        call({ ...requestOf(headers), name: this.#name, signal: this.#signal })
      let response: Response
      try {
        response = await send({ 'if-none-match': '*' })
      } catch (error) {
        if (!(error instanceof StorageError) || !error.message.includes('NotImplemented')) throw error
        if ((await list(this.#name, this.#signal)).some(({ name }) => name === this.#name))
          throw new StorageError('exists', `${this.#name} already exists`)
        response = await send({})
      }
      // Completing an upload can fail after the status was sent.
      const text = await response.text()
      if (text.includes('<Error>'))
        throw new StorageError('failed', `${this.#name} was not stored: ${textOf(text, 'Code')}`)
    }
  }

  async function list(start: string, signal?: AbortSignal): Promise<StoredObject[]> {
    const base = prefix === '' ? '' : `${prefix}/`
    const found: StoredObject[] = []
    for (let token: string | undefined, more = true; more; more = token !== undefined) {
      const query = {
        'list-type': '2',
        prefix: base + start,
        ...(token !== undefined && { 'continuation-token': token })
      }
      const text = await (await call({ method: 'GET', query, signal })).text()
      for (const object of elements(text, 'Contents'))
        found.push({ name: textOf(object, 'Key')!.slice(base.length), bytes: Number(textOf(object, 'Size')) })
      token = textOf(text, 'IsTruncated') === 'true' ? textOf(text, 'NextContinuationToken') : undefined
    }
    return found.sort((a, b) => (a.name < b.name ? -1 : 1))
  }

  async function tidy(signal?: AbortSignal): Promise<void> {
    const base = prefix === '' ? '' : `${prefix}/`
    const query = { uploads: '', prefix: base }
    const text = await (await call({ method: 'GET', query, signal })).text()
    for (const upload of elements(text, 'Upload')) {
      const begun = Date.parse(textOf(upload, 'Initiated') ?? '')
      if (!(Date.now() - begun > DAY)) continue
      const name = textOf(upload, 'Key')!.slice(base.length)
      await call({ method: 'DELETE', name, query: { uploadId: textOf(upload, 'UploadId')! }, signal })
    }
  }

  return {
    description: `s3://${bucket}${prefix && `/${prefix}`} at ${origin}`,
    put,
    async get(name, signal) {
      const response = await call({ method: 'GET', name, signal, streams: true })
      if (response.body === null) throw new StorageError('failed', `${name} has no content`)
      return Readable.fromWeb(response.body as never)
    },
    list,
    async remove(name, signal) {
      await (await call({ method: 'DELETE', name, signal })).arrayBuffer()
    },
    tidy
  }
}

function reasonOf(error: Error): string {
  const { cause } = error
  return cause instanceof Error ? cause.message || String((cause as NodeJS.ErrnoException).code) : error.message
}
