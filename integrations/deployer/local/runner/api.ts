import { once } from 'node:events'
import { chmod } from 'node:fs/promises'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { createServer } from '../../../../plugins/lib/http.ts'
import { type LogEntry, PROTOCOL, type Refusal, type RunnerInfo } from '../protocol.ts'
import { StartFailure } from './app-process.ts'
import { Conflict, type Fleet } from './fleet.ts'

/** Request size limit in bytes; mostly for the app's env vars. */
const MAX_BODY = 16 * 1024 * 1024
/** Milliseconds between keep-alives on a silent log. */
const HEARTBEAT = 10_000
const LOG_BATCH = 100

interface Question {
  readonly query: URLSearchParams
  // biome-ignore lint/suspicious/noExplicitAny: both ends are ours, and each handler says what it is given
  readonly body: any
  /** Aborted when the client no longer waits for the reply. */
  readonly signal: AbortSignal
}
type Answer = (question: Question) => unknown

/** Serves Rhone on a Unix socket that only its user can open. */
export class Api {
  readonly #fleet: Fleet
  readonly #hello: RunnerInfo
  readonly #server: Server
  readonly #answers: Readonly<Record<string, Answer>>
  readonly #closing = new AbortController()
  #open = 0
  #askedAt = performance.now()

  /** @param stop requests the end of the runner */
  constructor(fleet: Fleet, hello: RunnerInfo, stop: () => void) {
    this.#fleet = fleet
    this.#hello = hello
    this.#server = createServer({ requestTimeout: 60_000 }, (request, response) => void this.#handle(request, response))
    this.#answers = {
      'GET /': () => this.#hello,
      [`POST ${PROTOCOL}/start`]: ({ body, signal }) => fleet.start(body, signal),
      [`POST ${PROTOCOL}/serve`]: ({ body }) => fleet.serve(body),
      [`POST ${PROTOCOL}/retire`]: ({ body }) => fleet.retire(body),
      [`POST ${PROTOCOL}/destroy`]: ({ body }) => fleet.destroy(body.appId),
      [`GET ${PROTOCOL}/running`]: () => fleet.running(),
      [`GET ${PROTOCOL}/metrics`]: ({ query }) => fleet.metrics(query.get('app') ?? ''),
      'POST /stop': stop
    }
  }

  /** Milliseconds since the last reply; log readers do not count. */
  get idle(): number {
    return this.#open > 0 ? 0 : performance.now() - this.#askedAt
  }

  async listen(path: string): Promise<void> {
    this.#server.listen(path)
    await once(this.#server, 'listening')
    await chmod(path, 0o600)
  }

  /** Removes the socket, lets requests finish, and ends log streams. */
  async close(): Promise<void> {
    this.#closing.abort()
    const closed = once(this.#server, 'close')
    this.#server.close()
    this.#server.closeIdleConnections()
    await closed
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const gone = new AbortController()
    response.once('close', () => gone.abort())
    response.on('error', () => {})
    const [path = '', search] = request.url!.split('?', 2)
    const query = new URLSearchParams(search)
    const question = `${request.method} ${path}`
    if (question === `GET ${PROTOCOL}/logs`) {
      await this.#stream(query, response, AbortSignal.any([gone.signal, this.#closing.signal]))
      return
    }
    if (this.#closing.signal.aborted) return reply(response, 503, refusal('The runner is being stopped.'))
    this.#open += 1
    try {
      const answer = this.#answers[question]
      const body = await readBody(request)
      if (answer === undefined) reply(response, 404, refusal('Unknown request.'))
      else reply(response, 200, (await answer({ query, body, signal: gone.signal })) ?? {})
    } catch (error) {
      reply(
        response,
        statusOf(error),
        refusal((error as Error).message, error instanceof StartFailure ? error.said : undefined)
      )
      if (statusOf(error) === 500 && !gone.signal.aborted) console.error(error)
    } finally {
      this.#open -= 1
      this.#askedAt = performance.now()
    }
  }

  /** Each reader goes at its own pace: lines it is too slow for are counted as dropped instead of buffered. */
  async #stream(query: URLSearchParams, response: ServerResponse, signal: AbortSignal): Promise<void> {
    const log = this.#fleet.logOf(query.get('app') ?? '')
    const isOfNow = query.get('runner') === this.#hello.id
    const since = query.get('since')
    let position = isOfNow ? Number(query.get('after')) : log.numberBefore(since === null ? null : Number(since))
    response.writeHead(200, { 'content-type': 'application/x-ndjson', 'x-runner': this.#hello.id })
    response.flushHeaders()
    const lines = new EventTarget()
    const forget = log.onLine(() => lines.dispatchEvent(new Event('line')))
    const heartbeat = setInterval(() => response.write('\n'), HEARTBEAT)
    try {
      while (!signal.aborted) {
        const entries: readonly LogEntry[] = log.after(position, LOG_BATCH)
        if (entries.length === 0) {
          await once(lines, 'line', { signal })
          continue
        }
        position = positionAfter(entries, position)
        const hasRoom = response.write(entries.map(entry => `${JSON.stringify(entry)}\n`).join(''))
        if (!hasRoom) await once(response, 'drain', { signal })
      }
    } catch (error) {
      if (!signal.aborted) throw error
    } finally {
      clearInterval(heartbeat)
      forget()
      response.destroy()
    }
  }
}

function positionAfter(entries: readonly LogEntry[], position: number): number {
  const last = entries.at(-1)!
  return 'dropped' in last ? position + last.dropped : last.number
}

async function readBody(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request) {
    size += chunk.length
    if (size > MAX_BODY) throw new StartFailure('The env vars of the app are too long in total.')
    chunks.push(chunk)
  }
  try {
    return size === 0 ? {} : JSON.parse(Buffer.concat(chunks).toString())
  } catch {
    // The original message would quote part of the body.
    throw new Error('the request is not JSON')
  }
}

function statusOf(error: unknown): number {
  if (error instanceof StartFailure) return 422
  return error instanceof Conflict ? 409 : 500
}

const refusal = (error: string, said?: string): Refusal => ({ error, ...(said !== undefined && { said }) })

function reply(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}
