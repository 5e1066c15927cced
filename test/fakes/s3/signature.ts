import { createHash, createHmac } from 'node:crypto'
import type { IncomingMessage } from 'node:http'

export interface Credentials {
  readonly accessKeyId: string
  readonly secretAccessKey: string
}

/** Maximum clock skew of a client in seconds. */
const TOLERANCE = 15 * 60

/**
 * Checks AWS Signature Version 4 as the documentation of S3 describes it.
 *
 * @returns the code of S3's error; undefined if the signature holds for this request and body
 */
export function wrongWith(
  request: IncomingMessage,
  body: Buffer,
  { accessKeyId, secretAccessKey }: Credentials,
  now = Date.now()
): string | undefined {
  const header = request.headers.authorization ?? ''
  const [, credential, signed, signature] =
    /^AWS4-HMAC-SHA256 Credential=([^,]+), ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})$/.exec(header) ?? []
  if (!credential || !signed || !signature) return 'AccessDenied'
  const [id, day = '', region = '', service = '', end] = credential.split('/')
  if (id !== accessKeyId) return 'InvalidAccessKeyId'
  if (service !== 's3' || end !== 'aws4_request') return 'AuthorizationHeaderMalformed'

  const date = String(request.headers['x-amz-date'] ?? '')
  const at = Date.parse(date.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z'))
  if (!date.startsWith(day) || !(Math.abs(at - now) <= TOLERANCE * 1_000)) return 'RequestTimeTooSkewed'

  const payload = String(request.headers['x-amz-content-sha256'] ?? '')
  if (payload !== 'UNSIGNED-PAYLOAD' && payload !== sha256(body)) return 'XAmzContentSHA256Mismatch'

  const names = signed.split(';')
  if (!names.includes('host') || !names.includes('x-amz-date')) return 'AccessDenied'
  const url = new URL(request.url!, 'http://localhost')
  const query = [...url.searchParams]
    .map(([key, value]) => [encoded(key), encoded(value)] as const)
    .sort(([a, av], [b, bv]) => (a === b ? compare(av, bv) : compare(a, b)))
    .map(([key, value]) => `${key}=${value}`)
    .join('&')
  const path = url.pathname.split('/').map(part => encoded(decodeURIComponent(part)))
  const headers = names.map(
    name =>
      `${name}:${String(request.headers[name] ?? '')
        .trim()
        .replace(/ +/g, ' ')}\n`
  )
  const canonical = [request.method, path.join('/'), query, headers.join(''), signed, payload].join('\n')
  const scope = [day, region, 's3', 'aws4_request']
  const text = ['AWS4-HMAC-SHA256', date, scope.join('/'), sha256(canonical)].join('\n')
  const key = scope.reduce<string | Buffer>((last, part) => hmac(last, part), `AWS4${secretAccessKey}`)
  return hmac(key, text).toString('hex') === signature ? undefined : 'SignatureDoesNotMatch'
}

const compare = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0)
const sha256 = (data: string | Buffer) => createHash('sha256').update(data).digest('hex')
const hmac = (key: string | Buffer, data: string) => createHmac('sha256', key).update(data).digest()
const encoded = (text: string) =>
  encodeURIComponent(text).replace(/[!'()*]/g, char => `%${char.charCodeAt(0).toString(16).toUpperCase()}`)
