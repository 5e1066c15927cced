import type { ClientRequest, IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { request as ask, STATUS_CODES } from '../../../../plugins/lib/http.ts'
import { endReply } from './end-reply.ts'
import type { App } from './fleet.ts'
import { replyHeaders, requestHeaders, targetOf } from './headers.ts'
import { type Notice, notices, REPLY_TIMEOUT, sendNotice } from './notices.ts'
import type { LocalRelease, Route } from './release.ts'
import { foldLengths } from './reply-head.ts'

/** Limit for the head of a request or reply, in bytes. */
export const MAX_HEAD = 65_536
/** Disables Node's header count limit, which drops the headers beyond it: their size is limited already. */
export const ALL_HEADERS = 0
/** Empty, but as bytes: Node would encode the head as UTF-8 again if it were sent together with text. */
const NO_BYTES = Buffer.alloc(0)
/** Safe to send again on a new connection if the kept-alive one turns out to be closed. */
const REPEATABLE = new Set(['GET', 'HEAD', 'OPTIONS'])

interface Upgrade {
  readonly socket: Socket
  /** Data received after the head of the request. */
  readonly head: Buffer
}

/** Proxies one request and its reply. */
export class ProxyExchange {
  readonly #app: App
  readonly #request: IncomingMessage
  readonly #response: ServerResponse
  readonly #upgrade: Upgrade | null
  readonly #began = performance.now()
  #release: LocalRelease | null = null
  #outgoing: ClientRequest | null = null
  #over: () => void = () => {}
  #attempts = 0
  /** Whether the client waits for `100 Continue` before sending the body. */
  #isBodyWaiting: boolean
  #isSent = false
  #bytes: { readonly socket: Socket; readonly read: number; readonly written: number } | null = null
  #overtime: NodeJS.Timeout | undefined

  constructor(app: App, request: IncomingMessage, response: ServerResponse, upgrade: Upgrade | null = null) {
    this.#app = app
    this.#request = request
    this.#response = response
    this.#upgrade = upgrade
    this.#isBodyWaiting = request.headers.expect !== undefined
  }

  begin(): void {
    const client = this.#upgrade?.socket ?? this.#response
    client.once('close', () => this.#end())
    this.#response.on('error', () => this.#cut())
    this.#overtime = setTimeout(() => this.#safely(() => this.#refuse(notices.timeout)), REPLY_TIMEOUT * 1_000)
    this.#safely(() => this.#forward())
  }

  /** Sends the request to the release that is serving now. */
  #forward(): void {
    const release = this.#app.serving
    if (release === null || release.route === null) this.#refuse(notices.down)
    else this.#sendTo(release, release.route)
  }

  #sendTo(release: LocalRelease, { port, agent, isOurs }: Route): void {
    this.#attempts += 1
    this.#over()
    this.#release = release
    this.#over = release.inFlight.begin(() => this.#cut())
    const { method, url } = this.#request
    const outgoing = ask({
      host: '127.0.0.1',
      port,
      method: method!,
      path: targetOf(url!).path,
      headers: requestHeaders(this.#request, this.#upgrade !== null),
      maxHeaderSize: MAX_HEAD,
      // A request that cannot be repeated gets its own connection, since the app may be closing the kept-alive one.
      agent: this.#upgrade === null && REPEATABLE.has(method!) ? agent : false
    })
    outgoing.maxHeadersCount = ALL_HEADERS
    this.#outgoing = outgoing
    outgoing.on('information', ({ statusCode, rawHeaders }) => this.#inform(statusCode, rawHeaders))
    outgoing.once('socket', socket => {
      foldLengths(socket)
      this.#bytes = { socket, read: socket.bytesRead, written: socket.bytesWritten }
      if (socket.connecting) socket.once('connect', () => this.#safely(() => this.#sendIf(isOurs(), outgoing)))
      else this.#send(outgoing)
    })
    outgoing.once('response', reply => this.#safely(() => this.#relay(reply)))
    outgoing.once('upgrade', (reply, socket, head) => this.#safely(() => this.#tunnel(reply, socket as Socket, head)))
    outgoing.on('error', error => this.#safely(() => this.#onFailure(outgoing, error)))
    outgoing.once('close', () => outgoing === this.#outgoing && this.#discardBody())
  }

  /** Sends nothing to another program that has taken over the app's port. */
  #sendIf(isOurs: boolean, outgoing: ClientRequest): void {
    if (isOurs) this.#send(outgoing)
    else this.#refuse(notices.down)
  }

  /** Leaves the body unread until there is a connection to send it on. */
  #send(outgoing: ClientRequest): void {
    this.#isSent = true
    if (this.#upgrade !== null) {
      outgoing.end()
      return
    }
    // Sends the head before the body begins, since the app may reply to it.
    if (hasBody(this.#request)) outgoing.write(NO_BYTES)
    // The app's time starts once it has the whole request.
    this.#request.on('data', () => this.#overtime?.refresh())
    this.#request.once('end', () => outgoing.addTrailers(pairs(this.#request.rawTrailers)))
    this.#request.pipe(outgoing)
  }

  /** Sends an informational (1xx) reply, which HTTP/1.0 does not have. */
  #inform(status: number, headers: readonly string[]): void {
    const { httpVersion } = this.#request
    const socket = this.#response.socket
    const isTooLate = this.#response.headersSent || httpVersion === '1.0' || socket === null
    if (isTooLate || (status === 100 && !this.#isBodyWaiting)) return
    if (status === 100) this.#isBodyWaiting = false
    socket.write(`HTTP/1.1 ${status} ${STATUS_CODES[status] ?? 'Informational'}\r\n${lines(headers)}\r\n`, 'latin1')
  }

  /** An app may reply before it has read everything, and a client may read only after sending everything. */
  #discardBody(): void {
    this.#request.unpipe().resume()
  }

  #relay(reply: IncomingMessage): void {
    if (!this.#writeHead(reply)) {
      this.#refuse(notices.broken)
      return
    }
    const response = this.#response
    this.#count(reply.statusCode!)
    reply.once('end', () => {
      this.#countBytes()
      response.addTrailers(pairs(reply.rawTrailers))
      if (!this.#request.readableEnded) {
        this.#discardBody()
        this.#outgoing?.destroy()
      }
      if (this.#isBodyWaiting) response.end()
      else endReply(this.#request, response)
    })
    // A truncated reply must not look complete.
    reply.on('error', () => this.#cut())
    reply.once('close', () => {
      if (!reply.complete) this.#cut()
    })
    reply.pipe(response, { end: false })
  }

  /** @returns false when it cannot be sent: HTTP does not allow the status or a header */
  #writeHead(reply: IncomingMessage): boolean {
    try {
      this.#response.sendDate = false
      this.#response.writeHead(reply.statusCode!, reply.statusMessage, replyHeaders(reply))
    } catch {
      return false
    }
    // A reply without a body ends at once, which sends its head, too.
    if (mayHaveBody(this.#request, reply)) this.#response.write(NO_BYTES)
    return true
  }

  #tunnel(reply: IncomingMessage, inner: Socket, head: Buffer): void {
    const upgrade = this.#upgrade
    if (upgrade === null) {
      // The client did not ask for an upgrade.
      this.#refuse(notices.broken)
      return
    }
    const { socket: outer } = upgrade
    this.#count(101)
    this.#release!.inFlight.addTunnel(inner)
    this.#over()
    this.#bytes = null
    this.#response.detachSocket(outer)
    outer.write(`HTTP/1.1 101 ${reply.statusMessage}\r\n${lines(replyHeaders(reply))}\r\n`, 'latin1')
    if (head.length > 0) outer.write(head)
    if (upgrade.head.length > 0) inner.write(upgrade.head)
    for (const socket of [outer, inner]) socket.setTimeout(0).setNoDelay(true)
    inner.on('error', () => outer.destroy())
    outer.once('close', () => inner.destroy())
    inner.once('close', () => {
      this.#app.meter.countBytes(inner.bytesWritten, inner.bytesRead)
      outer.destroy()
    })
    outer.pipe(inner).pipe(outer)
  }

  #onFailure(outgoing: ClientRequest, error: Error): void {
    // Once a reply has begun, its own end decides the outcome.
    if (outgoing !== this.#outgoing || this.#response.headersSent || this.#response.closed) return
    if (this.#mayRepeat(outgoing)) {
      this.#isSent = false
      this.#forward()
    } else this.#refuse(noticeOf(error))
  }

  /** Allows one retry, if the app cannot have seen the request or the request is safe to repeat. */
  #mayRepeat(outgoing: ClientRequest): boolean {
    if (this.#attempts > 1) return false
    if (!this.#isSent) return true
    return outgoing.reusedSocket && REPEATABLE.has(this.#request.method!) && !hasBody(this.#request)
  }

  #refuse(notice: Notice): void {
    const outgoing = this.#outgoing
    this.#outgoing = null
    outgoing?.destroy()
    if (this.#response.headersSent) {
      this.#cut()
      return
    }
    this.#count(notice.status)
    this.#request.resume()
    sendNotice(this.#request, this.#response, notice)
  }

  #count(status: number): void {
    this.#stopWaiting()
    this.#app.meter.count(status, performance.now() - this.#began)
  }

  /** Contains errors caused by one client or app, so that others are not affected. */
  #safely(work: () => void): void {
    try {
      work()
    } catch (error) {
      console.error(error)
      this.#cut()
    }
  }

  /** Counts only while this exchange has the app connection to itself. */
  #countBytes(): void {
    if (this.#bytes === null) return
    const { socket, read, written } = this.#bytes
    this.#bytes = null
    this.#app.meter.countBytes(socket.bytesWritten - written, socket.bytesRead - read)
  }

  /** Aborts both connections, so that both sides see the failure. */
  #cut(): void {
    this.#outgoing?.destroy()
    const client = this.#upgrade?.socket ?? this.#request.socket
    client.destroy()
  }

  /** Drops the timer as well, since a cleared timer could be refreshed. */
  #stopWaiting(): void {
    clearTimeout(this.#overtime)
    this.#overtime = undefined
  }

  #end(): void {
    this.#stopWaiting()
    this.#over()
    this.#countBytes()
    if (!this.#response.writableFinished) this.#outgoing?.destroy()
  }
}

const hasBody = ({ headers }: IncomingMessage) =>
  headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0

/** Whether the client expects a body after this reply's head. */
const mayHaveBody = ({ method }: IncomingMessage, { statusCode }: IncomingMessage) =>
  method !== 'HEAD' && statusCode !== 204 && statusCode !== 304

/** Maps a failed request to the notice for its client. */
function noticeOf(error: NodeJS.ErrnoException): Notice {
  if (error.code === 'ECONNREFUSED') return notices.down
  if (error.code === 'HPE_HEADER_OVERFLOW') return notices.longHead
  return error.code?.startsWith('HPE_') && error.code !== 'HPE_INVALID_EOF_STATE' ? notices.invalid : notices.broken
}

function pairs(headers: readonly string[]): [name: string, value: string][] {
  return headers.flatMap((name, at) => (at % 2 === 0 ? [[name, headers[at + 1]!] as [string, string]] : []))
}

function lines(headers: readonly string[]): string {
  let text = ''
  for (let at = 0; at < headers.length; at += 2) text += `${headers[at]}: ${headers[at + 1]}\r\n`
  return text
}
