import type { IncomingHttpHeaders } from 'node:http'
import { type Listening, listen } from '../server.ts'
import { bytesOf, hexOf, type Message, messages, numberOf, readMessage, textOf } from './protobuf.ts'

export interface ReceivedSpan {
  readonly traceId: string
  readonly spanId: string
  /** Empty for a root. */
  readonly parentId: string
  readonly name: string
  readonly kind: 'internal' | 'server' | 'client' | 'producer' | 'consumer'
  readonly attributes: Readonly<Record<string, string | number | boolean>>
  readonly links: readonly { traceId: string; spanId: string }[]
  readonly failed: boolean
  /** Nanoseconds since the Unix epoch. */
  readonly start: bigint
  readonly end: bigint
  readonly resource: Readonly<Record<string, string | number | boolean>>
}

export interface FakeOtlp extends Listening {
  readonly spans: ReceivedSpan[]
  readonly requests: { path: string; headers: IncomingHttpHeaders; body: Buffer }[]
  /** The answer to exports; `hang`: none. */
  behaviour: 'accept' | 'unavailable' | 'hang'
}

const KINDS = ['internal', 'internal', 'server', 'client', 'producer', 'consumer'] as const
const FAILED = 2

/** A receiver of OTLP over HTTP that decodes protobuf. */
export async function startFakeOtlp(port = 0): Promise<FakeOtlp> {
  const spans: ReceivedSpan[] = []
  const requests: FakeOtlp['requests'] = []
  const server = await listen(async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    const body = Buffer.concat(chunks)
    requests.push({ path: request.url!, headers: request.headers, body })
    if (fake.behaviour === 'hang') return
    if (fake.behaviour === 'unavailable') return void response.writeHead(503).end()
    if (request.url !== '/v1/traces' || request.headers['content-type'] !== 'application/x-protobuf')
      return void response.writeHead(404).end()
    spans.push(...readSpans(body))
    response.writeHead(200, { 'content-type': 'application/x-protobuf' }).end()
  }, port)
  const fake: FakeOtlp = { ...server, spans, requests, behaviour: 'accept' }
  return fake
}

function readSpans(body: Buffer): ReceivedSpan[] {
  return messages(readMessage(body), 1).flatMap(resourceSpans => {
    const resource = attributesOf(messages(resourceSpans, 1)[0]!, 1)
    return messages(resourceSpans, 2).flatMap(scope => messages(scope, 2).map(span => spanOf(span, resource)))
  })
}

function spanOf(span: Message, resource: ReceivedSpan['resource']): ReceivedSpan {
  const [status] = messages(span, 15)
  return {
    traceId: hexOf(span, 1),
    spanId: hexOf(span, 2),
    parentId: hexOf(span, 4),
    name: textOf(span, 5),
    kind: KINDS[numberOf(span, 6)] ?? 'internal',
    start: (span.get(7)?.[0] ?? 0n) as bigint,
    end: (span.get(8)?.[0] ?? 0n) as bigint,
    attributes: attributesOf(span, 9),
    links: messages(span, 13).map(link => ({ traceId: hexOf(link, 1), spanId: hexOf(link, 2) })),
    failed: status !== undefined && numberOf(status, 3) === FAILED,
    resource
  }
}

function attributesOf(message: Message, number: number): ReceivedSpan['attributes'] {
  return Object.fromEntries(messages(message, number).map(pair => [textOf(pair, 1), plainOf(messages(pair, 2)[0]!)]))
}

function plainOf(value: Message): string | number | boolean {
  if (value.has(1)) return textOf(value, 1)
  if (value.has(2)) return numberOf(value, 2) === 1
  if (value.has(4)) return Buffer.from(bytesOf(value, 4)[0] ?? []).length
  return numberOf(value, 3)
}
