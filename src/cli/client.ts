import { randomUUID } from 'node:crypto'
import { Readable } from 'node:stream'
import { CommandError } from './command.ts'

/** A server, and how to get its token. */
export interface ServerPlace {
  readonly url: string
  /** Whether it is this machine's server, found through its DATA_DIR. */
  readonly isLocal: boolean
  /** @throws CommandError when there is none */
  readonly token: () => Promise<string>
}

export interface Client {
  readonly url: string
  /** Sends a request with the token. @throws CommandError with the server's message, unless the status is 2xx */
  request<Body>(method: string, path: string, body?: object): Promise<Body>
  /**
   * Sends a body of any length as a stream. If the connection breaks, the request is repeated once and still makes only
   * one change.
   * @throws as `request`
   */
  upload<Body>(path: string, bytes: number, body: () => Readable): Promise<Body>
  /** Opens a reply of any length, without a time limit. @throws Refused, Unreachable */
  open(path: string, headers?: Record<string, string>, signal?: AbortSignal): Promise<Response>
  /** Streams the text of a reply, without a time limit. @throws CommandError as above, or when the reply is cut off */
  stream(path: string): AsyncGenerator<string>
}

interface ErrorEnvelope {
  readonly error?: { code?: string; message?: string; detail?: string; requestId?: string }
}

const TIMEOUT = 15_000
/** Refusal statuses after which a retry may succeed. */
export const RETRYABLE_STATUSES: ReadonlySet<number> = new Set([408, 425, 429, 500, 502, 503, 504])
const UPLOAD_TIMEOUT = 15 * 60_000

/** No reply arrived; the message names the server. */
export class Unreachable extends CommandError {}

/** The server has refused the request; the message is its own. */
export class Refused extends CommandError {
  readonly status: number
  /** The error code; undefined when the reply came from another kind of server. */
  readonly code: string | undefined
  /** Seconds until a retry may succeed, if the server said so. */
  readonly retryAfter: number | undefined

  constructor(message: string, status: number, code?: string, retryAfter?: number) {
    super(message)
    this.status = status
    this.code = code
    this.retryAfter = retryAfter
  }
}

/** Lets the server distinguish deployments made by the command line. */
const USER_AGENT = `rhone-cli/${process.versions.node}`

export function createClient({ url, token }: ServerPlace): Client {
  async function request<Body>(method: string, path: string, body?: object): Promise<Body> {
    const reply = await send(new URL(path, url), {
      method,
      headers: {
        accept: 'application/json',
        authorization: `Bearer ${await token()}`,
        'user-agent': USER_AGENT,
        ...(body && { 'content-type': 'application/json' })
      },
      ...(body && { body: JSON.stringify(body) })
    })
    const text = await reply.text()
    if (!reply.ok) throw refusalOf(reply, text, url)
    return (text === '' ? undefined : JSON.parse(text)) as Body
  }

  async function upload<Body>(path: string, bytes: number, body: () => Readable): Promise<Body> {
    const init: RequestInit & { duplex: 'half' } = {
      method: 'POST',
      headers: {
        accept: 'application/json',
        authorization: `Bearer ${await token()}`,
        'content-length': String(bytes),
        'content-type': 'application/gzip',
        'idempotency-key': randomUUID(),
        'user-agent': USER_AGENT
      },
      duplex: 'half'
    }
    const attempt = async () => {
      const stream = body()
      try {
        const sent = { ...init, body: Readable.toWeb(stream) as ReadableStream }
        const reply = await send(new URL(path, url), sent, AbortSignal.timeout(UPLOAD_TIMEOUT))
        return { reply, text: await reply.text() }
      } finally {
        stream.destroy()
      }
    }
    const { reply, text } = await attempt().catch(error => {
      if (error instanceof Unreachable) return attempt()
      throw error
    })
    if (!reply.ok) throw refusalOf(reply, text, url)
    return JSON.parse(text) as Body
  }

  async function open(path: string, headers: Record<string, string> = {}, signal?: AbortSignal): Promise<Response> {
    const patience = new AbortController()
    const timer = setTimeout(() => patience.abort(new Error('the server did not answer in time')), TIMEOUT)
    const ended = signal === undefined ? patience.signal : AbortSignal.any([signal, patience.signal])
    const authorization = `Bearer ${await token()}`
    const init = { headers: { ...headers, authorization, 'user-agent': USER_AGENT } }
    const reply = await send(new URL(path, url), init, ended).finally(() => clearTimeout(timer))
    if (!reply.ok) throw refusalOf(reply, await reply.text(), url)
    return reply
  }

  async function* stream(path: string): AsyncGenerator<string> {
    const reply = await open(path)
    try {
      if (reply.body !== null) yield* reply.body.pipeThrough(new TextDecoderStream())
    } catch (error) {
      throw new CommandError(`the reply of ${url} was interrupted: ${reason(error)}`)
    }
  }

  return { url, request, upload, open, stream }
}

/** One page of a list. */
export interface Page<Item> {
  readonly items: Item[]
  readonly nextCursor: string | null
}

/** All items of a list, page by page. */
export async function listAll<Item>(
  client: Client,
  path: string,
  filters: Readonly<Record<string, string>> = {}
): Promise<Item[]> {
  const items: Item[] = []
  let cursor: string | null = null
  do {
    const query = new URLSearchParams({ limit: '200', ...filters, ...(cursor && { cursor }) })
    const page: Page<Item> = await client.request('GET', `${path}?${query}`)
    items.push(...page.items)
    cursor = page.nextCursor
  } while (cursor !== null)
  return items
}

/** Does not follow redirects: the token is only ever sent to the named server. */
export async function send(url: URL, init: RequestInit = {}, signal = AbortSignal.timeout(TIMEOUT)): Promise<Response> {
  try {
    return await fetch(url, { ...init, redirect: 'manual', signal })
  } catch (error) {
    throw new Unreachable(`the server at ${url.origin} cannot be reached: ${reason(error)}${remedy(url, error)}`)
  }
}

/** What to do when nothing listens on this machine. */
function remedy({ hostname }: URL, error: unknown): string {
  const isHere = isLoopback(hostname) && reason(error) === REASONS.ECONNREFUSED
  return isHere ? '. Start it (npm start), or choose another server with --url or RHONE_URL' : ''
}

/** Whether a host name means this machine. */
export const isLoopback = (hostname: string): boolean =>
  /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/.test(hostname.toLowerCase())

/** Explanations of network error codes. */
const REASONS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused',
  ECONNRESET: 'the connection was closed',
  UND_ERR_SOCKET: 'the connection was closed',
  ENOTFOUND: 'unknown host name',
  EAI_AGAIN: 'the host name could not be resolved; try again',
  EHOSTUNREACH: 'no route to the host',
  ENETUNREACH: 'no route to the network',
  ETIMEDOUT: 'the server did not answer in time',
  UND_ERR_CONNECT_TIMEOUT: 'the server did not answer in time',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'its certificate is not signed by a trusted authority; see NODE_EXTRA_CA_CERTS',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'its certificate is not signed by a trusted authority; see NODE_EXTRA_CA_CERTS',
  CERT_HAS_EXPIRED: 'its certificate has expired'
}

export function reason(error: unknown): string {
  const cause = error instanceof Error ? (error.cause ?? error) : error
  if (cause instanceof AggregateError && cause.errors.length > 0) return reason(cause.errors[0])
  if (!(cause instanceof Error)) return String(cause)
  if (cause.name === 'TimeoutError') return 'the server did not answer in time'
  return REASONS[(cause as NodeJS.ErrnoException).code ?? ''] ?? cause.message
}

export function refusalOf(reply: Response, text: string, url: string): Refused {
  const { status, headers } = reply
  const location = headers.get('location')
  if (location !== null)
    return new Refused(`${url} redirects (${status}) to ${location}: set RHONE_URL to that server`, status)

  const { code, message, detail, requestId } = parseEnvelope(text)
  if (message === undefined) return new Refused(`${url} answered ${status}, but not like a Rhone server`, status)
  const said = detail === undefined ? message : `${message}: ${detail}`
  const next = nextStep(status, message)
  const seconds = Number(headers.get('retry-after') ?? Number.NaN)
  const retryAfter = Number.isFinite(seconds) ? seconds : undefined
  return new Refused(`${said} (${status} ${code}, request ${requestId})${next}`, status, code, retryAfter)
}

function nextStep(status: number, message: string): string {
  if (status === 401) return '; log in with: rhone login'
  if (status === 404 && message === 'app not found') return '; rhone apps list shows your apps'
  if (status === 404 && message === 'team not found') return '; rhone teams list shows your teams'
  return ''
}

function parseEnvelope(text: string): NonNullable<ErrorEnvelope['error']> {
  try {
    return (JSON.parse(text) as ErrorEnvelope).error ?? {}
  } catch {
    return {}
  }
}
