import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Config } from '../config/index.ts'
import { findServer, localUrl } from '../listening.ts'
import { CommandError } from './command.ts'

export interface Client {
  readonly url: string
  /** Sends a request with the token. @throws CommandError with the server's message, unless the status is 2xx */
  request<Body>(method: string, path: string, body?: object): Promise<Body>
  /** Streams the text of a reply, without a time limit. @throws CommandError as above, or when the reply is cut off */
  stream(path: string): AsyncGenerator<string>
}

interface ErrorEnvelope {
  readonly error?: { code?: string; message?: string; detail?: string; requestId?: string }
}

const TIMEOUT = 15_000

/** No reply arrived; the message names the server. */
export class Unreachable extends CommandError {}

export function createClient(config: Config): Client {
  const url = serverUrl(config)

  async function request<Body>(method: string, path: string, body?: object): Promise<Body> {
    const reply = await send(new URL(path, url), {
      method,
      headers: {
        accept: 'application/json',
        authorization: `Bearer ${await apiToken(config)}`,
        ...(body && { 'content-type': 'application/json' })
      },
      ...(body && { body: JSON.stringify(body) })
    })
    const text = await reply.text()
    if (!reply.ok) throw new CommandError(refusal(reply, text, url))
    return (text === '' ? undefined : JSON.parse(text)) as Body
  }

  async function* stream(path: string): AsyncGenerator<string> {
    const patience = new AbortController()
    const timer = setTimeout(() => patience.abort(new Error('no answer in time')), TIMEOUT)
    const headers = { authorization: `Bearer ${await apiToken(config)}` }
    const reply = await send(new URL(path, url), { headers }, patience.signal).finally(() => clearTimeout(timer))
    if (!reply.ok) throw new CommandError(refusal(reply, await reply.text(), url))
    try {
      if (reply.body !== null) yield* reply.body.pipeThrough(new TextDecoderStream())
    } catch (error) {
      throw new CommandError(`the reply of ${url} was cut off: ${reason(error)}`)
    }
  }

  return { url, request, stream }
}

/** All items of a list, page by page. */
export async function listAll<Item>(client: Client, path: string): Promise<Item[]> {
  const items: Item[] = []
  let cursor: string | null = null
  do {
    const query = new URLSearchParams({ limit: '200', ...(cursor && { cursor }) })
    const page: { items: Item[]; nextCursor: string | null } = await client.request('GET', `${path}?${query}`)
    items.push(...page.items)
    cursor = page.nextCursor
  } while (cursor !== null)
  return items
}

/**
 * `RHONE_URL`, or the address of the server running on DATA_DIR, or the one that this configuration would listen on.
 */
export function serverUrl(config: Config): string {
  const { client, dataDir, port } = config
  if (client.url !== null) {
    if (!/^https?:\/\//.test(client.url) || !URL.canParse(client.url))
      throw new CommandError(`RHONE_URL: "${client.url}" is not an http or https URL`)
    return client.url
  }
  const running = findServer(dataDir)
  if (running !== undefined) return running
  if (port === 0) throw new CommandError('the server picks a port of its own (PORT=0): say where it is with RHONE_URL')
  return localUrl(config, port)
}

/** `RHONE_TOKEN`, or the operator token that the first boot stored on this machine. */
export async function apiToken({ client, dataDir }: Config): Promise<string> {
  if (client.token !== null) return client.token
  const path = join(dataDir, 'operator-token')
  try {
    return (await readFile(path, 'utf8')).trim()
  } catch (error) {
    throw new CommandError(
      `there is no API token: set RHONE_TOKEN (${path} cannot be read: ${(error as NodeJS.ErrnoException).code})`
    )
  }
}

/** Does not follow redirects: the token is only ever sent to the named server. */
export async function send(url: URL, init: RequestInit = {}, signal = AbortSignal.timeout(TIMEOUT)): Promise<Response> {
  try {
    return await fetch(url, { ...init, redirect: 'manual', signal })
  } catch (error) {
    throw new Unreachable(`the server at ${url.origin} cannot be reached: ${reason(error)}`)
  }
}

/** Explanations of network error codes. */
const REASONS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing listens there',
  ECONNRESET: 'the connection was cut off',
  UND_ERR_SOCKET: 'the connection was cut off',
  ENOTFOUND: 'there is no host of that name',
  EAI_AGAIN: 'names of hosts cannot be looked up at the moment',
  EHOSTUNREACH: 'no way leads to that host',
  ENETUNREACH: 'no way leads to that network',
  ETIMEDOUT: 'no answer in time',
  UND_ERR_CONNECT_TIMEOUT: 'no answer in time',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'its certificate is signed by nobody that is trusted; see NODE_EXTRA_CA_CERTS',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'its certificate is signed by nobody that is trusted; see NODE_EXTRA_CA_CERTS',
  CERT_HAS_EXPIRED: 'its certificate has expired'
}

function reason(error: unknown): string {
  const cause = error instanceof Error ? (error.cause ?? error) : error
  if (cause instanceof AggregateError && cause.errors.length > 0) return reason(cause.errors[0])
  if (!(cause instanceof Error)) return String(cause)
  if (cause.name === 'TimeoutError') return 'no answer in time'
  return REASONS[(cause as NodeJS.ErrnoException).code ?? ''] ?? cause.message
}

function refusal(reply: Response, text: string, url: string): string {
  const location = reply.headers.get('location')
  if (location !== null)
    return `${url} answered ${reply.status} and points to ${location}: set RHONE_URL to that server`

  const { code, message, detail, requestId } = parseEnvelope(text)
  if (message === undefined) return `${url} answered ${reply.status}, and not as a Rhone server does`
  const said = detail === undefined ? message : `${message}: ${detail}`
  return `${said} (${reply.status} ${code}, request ${requestId})`
}

function parseEnvelope(text: string): NonNullable<ErrorEnvelope['error']> {
  try {
    return (JSON.parse(text) as ErrorEnvelope).error ?? {}
  } catch {
    return {}
  }
}
