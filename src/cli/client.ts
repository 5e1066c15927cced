import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Config } from '../config/index.ts'
import { CommandError } from './command.ts'

export interface Client {
  readonly url: string
  /** Sends a request with the token. @throws CommandError with what the server said, unless the status is 2xx */
  request<Body>(method: string, path: string, body?: object): Promise<Body>
  /** The text of a reply as it comes, however long that takes. @throws CommandError as above, or when it is cut off */
  stream(path: string): AsyncGenerator<string>
}

interface ErrorEnvelope {
  readonly error?: { code?: string; message?: string; detail?: string; requestId?: string }
}

const TIMEOUT = 15_000

/** No answer at all came back; the message says where from. */
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

/** Every page of a list. */
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

/** `RHONE_URL`, or where a server with this configuration listens. */
export function serverUrl({ client, tls, host, port }: Config): string {
  if (client.url !== null) {
    if (!/^https?:\/\//.test(client.url) || !URL.canParse(client.url))
      throw new CommandError(`RHONE_URL: "${client.url}" is not an http or https URL`)
    return client.url
  }
  if (port === 0) throw new CommandError('the server picks a port of its own (PORT=0): say where it is with RHONE_URL')
  // A certificate names a host, and locally that is never an address.
  if (tls !== null) return `https://localhost:${port}`
  const address = { '0.0.0.0': '127.0.0.1', '::': '::1' }[host] ?? host
  return `http://${address.includes(':') ? `[${address}]` : address}:${port}`
}

/** `RHONE_TOKEN`, or the one that the first boot left for the operator of this machine. */
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

/** Redirects are not followed: a token goes to the server that was named, or nowhere. */
export async function send(url: URL, init: RequestInit = {}, signal = AbortSignal.timeout(TIMEOUT)): Promise<Response> {
  try {
    return await fetch(url, { ...init, redirect: 'manual', signal })
  } catch (error) {
    throw new Unreachable(`the server at ${url.origin} cannot be reached: ${reason(error)}`)
  }
}

function reason(error: unknown): string {
  const cause = error instanceof Error ? (error.cause ?? error) : error
  if (cause instanceof AggregateError && cause.errors.length > 0) return reason(cause.errors[0])
  return cause instanceof Error ? cause.message : String(cause)
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
