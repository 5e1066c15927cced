import { gunzipSync } from 'node:zlib'
import { type Listening, listen } from '../server.ts'

export interface SentryEvent {
  readonly event_id: string
  readonly level?: string
  readonly release?: string
  readonly environment?: string
  readonly exception?: { values: { type: string; value: string; stacktrace?: { frames: object[] } }[] }
  readonly tags?: Readonly<Record<string, string>>
  readonly user?: Readonly<Record<string, unknown>>
  readonly extra?: Readonly<Record<string, unknown>>
  readonly contexts?: { trace?: { trace_id: string; span_id: string } }
  readonly [key: string]: unknown
}

export interface FakeSentry extends Listening {
  readonly dsn: string
  readonly events: SentryEvent[]
  /** Everything received, as text. */
  readonly bodies: string[]
  readonly requests: { path: string; headers: Readonly<Record<string, string | string[] | undefined>> }[]
  /** Pending requests. */
  readonly pending: number
  /** The answer to envelopes: a status, or none. */
  behaviour: number | 'hang'
}

const KEY = 'public'

/** A fake of Sentry that accepts envelopes for project 42. */
export async function startFakeSentry(port = 0): Promise<FakeSentry> {
  const events: SentryEvent[] = []
  const bodies: string[] = []
  const requests: FakeSentry['requests'] = []
  let pending = 0
  const server = await listen(async (request, response) => {
    const chunks: Buffer[] = []
    pending++
    response.once('close', () => pending--)
    for await (const chunk of request) chunks.push(chunk)
    const bytes = Buffer.concat(chunks)
    const body = (request.headers['content-encoding'] === 'gzip' ? gunzipSync(bytes) : bytes).toString('utf8')
    const url = new URL(request.url!, server.url)
    requests.push({ path: url.pathname, headers: request.headers })
    bodies.push(`${request.url}\n${JSON.stringify(request.headers)}\n${body}`)
    if (fake.behaviour === 'hang') return
    if (url.pathname !== '/api/42/envelope/') return void response.writeHead(404).end()
    if (url.searchParams.get('sentry_key') !== KEY) return void response.writeHead(403).end()
    if (fake.behaviour === 200) events.push(...eventsOf(body))
    response.writeHead(fake.behaviour, { 'content-type': 'application/json' }).end('{}')
  }, port)
  const fake: FakeSentry = {
    ...server,
    dsn: `${server.url.replace('://', `://${KEY}@`)}/42`,
    events,
    bodies,
    requests,
    get pending() {
      return pending
    },
    behaviour: 200
  }
  return fake
}

/** An envelope is a line of headers, and for each item a line of headers and its payload. */
function eventsOf(envelope: string): SentryEvent[] {
  const [, ...lines] = envelope.split('\n')
  const events: SentryEvent[] = []
  for (let at = 0; at + 1 < lines.length; at += 2)
    if (JSON.parse(lines[at]!).type === 'event') events.push(JSON.parse(lines[at + 1]!))
  return events
}
