import { createHash, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type Credentials, wrongWith } from './signature.ts'

/** A fault of the next matching request, once. */
export interface Fault {
  readonly matches: (request: { method: string; key: string; query: URLSearchParams }) => boolean
  /**
   * - a status: the request is refused with it, and has no effect
   * - `silence`: no answer
   * - `hang up`: the connection closes before the answer
   * - `truncate`: the object loses its last byte after a successful reply
   * - `late error`: a completion with status 200 and an error in its body
   */
  readonly does: number | 'silence' | 'hang up' | 'truncate' | 'late error'
}

interface Multipart {
  readonly key: string
  readonly begun: Date
  readonly parts: Map<number, Buffer>
}

const PAGE = 1_000
const LEAST_PART = 5 * 1024 * 1024

/** A server that speaks S3: objects, conditional writes, multipart uploads, listings and signatures. */
export class FakeS3 {
  readonly credentials: Credentials = { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'a-key-of-the-fake-only' }
  readonly bucket = 'vault'
  readonly objects = new Map<string, Buffer>()
  readonly uploads = new Map<string, Multipart>()
  readonly faults: Fault[] = []
  /** `METHOD key?query`, in order. */
  readonly requests: string[] = []
  /** Whether deletions are forbidden, as by a lock or by missing permissions. */
  locked = false
  /** Whether it supports `If-None-Match`, unlike some compatible services. */
  conditional = true
  /** A promise that the answer to a request waits for, if any. */
  waitsFor: ((key: string) => Promise<void> | undefined) | undefined
  /** Whether it receives nothing any more. */
  isDown = false
  /** Number of objects per page of a listing. */
  page = PAGE
  url = ''
  readonly #server = createServer((request, response) => {
    this.#answer(request, response).catch(error => response.destroy(error))
  })

  async listen(): Promise<this> {
    // A client on a busy machine may read so slowly that the connection seems idle.
    this.#server.keepAliveTimeout = 0
    this.#server.listen(0, '127.0.0.1')
    await once(this.#server, 'listening')
    this.url = `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
    return this
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections()
    this.#server.close()
    await once(this.#server, 'close')
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = Buffer.concat(await Array.fromAsync(request))
    const url = new URL(request.url!, this.url)
    const [, bucket, ...rest] = url.pathname.split('/').map(decodeURIComponent)
    const key = rest.join('/')
    const method = request.method!
    const query = url.searchParams
    this.requests.push(`${method} ${key}${url.search}`)

    await this.waitsFor?.(key)
    const fault = this.#faultFor({ method, key, query })
    if (this.isDown) return void request.socket.destroy()
    if (fault === 'silence') return
    if (fault === 'hang up') return void request.socket.destroy()
    const wrong = wrongWith(request, body, this.credentials)
    if (wrong !== undefined) return refuse(response, wrong === 'XAmzContentSHA256Mismatch' ? 400 : 403, wrong)
    if (typeof fault === 'number') return refuse(response, fault, fault === 503 ? 'SlowDown' : 'InternalError')
    if (bucket !== this.bucket) return refuse(response, 404, 'NoSuchBucket')

    if (key === '') return query.has('uploads') ? this.#listUploads(response) : this.#list(response, query)
    if (method === 'POST' && query.has('uploads')) return this.#begin(response, key)
    if (query.has('uploadId')) return this.#multipart(request, response, key, query, body, fault)
    if (method === 'PUT') return this.#store(request, response, key, body, fault)
    if (method === 'DELETE') {
      if (this.locked) return refuse(response, 403, 'AccessDenied')
      this.objects.delete(key)
      response.writeHead(204).end()
      return
    }
    const object = this.objects.get(key)
    if (object === undefined) return refuse(response, 404, 'NoSuchKey')
    response.writeHead(200, { 'content-length': object.length, etag: etagOf(object) })
    response.end(method === 'HEAD' ? undefined : object)
  }

  #faultFor(request: Parameters<Fault['matches']>[0]): Fault['does'] | undefined {
    const found = this.faults.findIndex(({ matches }) => matches(request))
    return found < 0 ? undefined : this.faults.splice(found, 1)[0]!.does
  }

  #store(request: IncomingMessage, response: ServerResponse, key: string, body: Buffer, fault?: Fault['does']): void {
    if (this.#mayNot(request, response, key)) return
    this.objects.set(key, fault === 'truncate' ? body.subarray(0, -1) : body)
    response.writeHead(200, { etag: etagOf(body) }).end()
  }

  #mayNot(request: IncomingMessage, response: ServerResponse, key: string): boolean {
    if (request.headers['if-none-match'] === undefined) return false
    if (!this.conditional) refuse(response, 501, 'NotImplemented')
    else if (this.objects.has(key)) refuse(response, 412, 'PreconditionFailed')
    else return false
    return true
  }

  #begin(response: ServerResponse, key: string): void {
    const id = randomUUID()
    this.uploads.set(id, { key, begun: new Date(), parts: new Map() })
    sendXml(response, 200, `<InitiateMultipartUploadResult><UploadId>${id}</UploadId></InitiateMultipartUploadResult>`)
  }

  #multipart(
    request: IncomingMessage,
    response: ServerResponse,
    key: string,
    query: URLSearchParams,
    body: Buffer,
    fault?: Fault['does']
  ) {
    const id = query.get('uploadId')!
    const upload = this.uploads.get(id)
    if (upload?.key !== key) return refuse(response, 404, 'NoSuchUpload')
    if (request.method === 'PUT') {
      upload.parts.set(Number(query.get('partNumber')), body)
      response.writeHead(200, { etag: etagOf(body) }).end()
    } else if (request.method === 'DELETE') {
      this.uploads.delete(id)
      response.writeHead(204).end()
    } else this.#complete(request, response, id, upload, body.toString(), fault)
  }

  #complete(
    request: IncomingMessage,
    response: ServerResponse,
    id: string,
    { key, parts }: Multipart,
    wanted: string,
    fault?: Fault['does']
  ) {
    if (this.#mayNot(request, response, key)) return
    if (fault === 'late error') return sendXml(response, 200, '<Error><Code>InternalError</Code></Error>')
    const named = [...wanted.matchAll(/<PartNumber>(\d+)<\/PartNumber><ETag>(.*?)<\/ETag>/g)]
    const chosen = named.map(([, number, etag]) => {
      const part = parts.get(Number(number))
      return part !== undefined && bare(etagOf(part)) === bare(etag!) ? part : undefined
    })
    const isInOrder = named.every(([, number], i) => i === 0 || Number(number) > Number(named[i - 1]![1]))
    if (chosen.length === 0) return refuse(response, 400, 'MalformedXML')
    if (!isInOrder) return refuse(response, 400, 'InvalidPartOrder')
    if (chosen.some(part => part === undefined)) return refuse(response, 400, 'InvalidPart')
    if (chosen.slice(0, -1).some(part => part!.length < LEAST_PART)) return refuse(response, 400, 'EntityTooSmall')
    const whole = Buffer.concat(chosen as Buffer[])
    this.objects.set(key, fault === 'truncate' ? whole.subarray(0, -1) : whole)
    this.uploads.delete(id)
    sendXml(response, 200, `<CompleteMultipartUploadResult><Key>${escaped(key)}</Key></CompleteMultipartUploadResult>`)
  }

  #list(response: ServerResponse, query: URLSearchParams): void {
    const prefix = query.get('prefix') ?? ''
    const after = query.get('continuation-token') ?? ''
    const keys = [...this.objects.keys()].filter(key => key.startsWith(prefix) && key > after).sort()
    const listed = keys.slice(0, this.page)
    const contents = listed.map(
      key => `<Contents><Key>${escaped(key)}</Key><Size>${this.objects.get(key)!.length}</Size></Contents>`
    )
    const more = keys.length > listed.length
    const next = more ? `<NextContinuationToken>${escaped(listed.at(-1)!)}</NextContinuationToken>` : ''
    const head = `<IsTruncated>${more}</IsTruncated><KeyCount>${listed.length}</KeyCount>${next}`
    sendXml(response, 200, `<ListBucketResult>${head}${contents.join('')}</ListBucketResult>`)
  }

  #listUploads(response: ServerResponse): void {
    const uploads = [...this.uploads].map(
      ([id, { key, begun }]) =>
        `<Upload><Key>${escaped(key)}</Key><UploadId>${id}</UploadId><Initiated>${begun.toISOString()}</Initiated></Upload>`
    )
    sendXml(response, 200, `<ListMultipartUploadsResult>${uploads.join('')}</ListMultipartUploadsResult>`)
  }
}

const etagOf = (data: Buffer) => `"${createHash('md5').update(data).digest('hex')}"`
const bare = (etag: string) => etag.replace(/"|&quot;/g, '')
const escaped = (text: string) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;')

function sendXml(response: ServerResponse, status: number, xml: string): void {
  response.writeHead(status, { 'content-type': 'application/xml' })
  response.end(`<?xml version="1.0" encoding="UTF-8"?>\n${xml}`)
}

function refuse(response: ServerResponse, status: number, code: string): void {
  sendXml(response, status, `<Error><Code>${code}</Code><Message>This is a fake of S3.</Message></Error>`)
}
