import { Socket } from 'node:net'
import { Writable } from 'node:stream'
import type { FastifyReply } from 'fastify'
import { IncomingMessage, ServerResponse } from './http.ts'

const kBlock = Symbol('rhone.header-block')
const kLines = Symbol('rhone.header-lines')
const kOnReplied = Symbol('rhone.on-replied')
const kOnClosed = Symbol('rhone.on-closed')

type HeaderFields = Readonly<Record<string, unknown>> | readonly unknown[] | undefined

/** Node's internal method that assembles a reply's head; missing from its types. */
interface WithStoreHeader {
  _storeHeader(firstLine: string, headers: HeaderFields): void
}
const { _storeHeader: storeHeader } = ServerResponse.prototype as unknown as WithStoreHeader

/** Headers common to all replies, as text. Headers that a reply sets itself take precedence. */
export class HeaderBlock {
  readonly #lines: ReadonlyMap<string, string>
  readonly #text: string

  /** @param headers by lower-case name */
  constructor(headers: Readonly<Record<string, string>>) {
    this.#lines = new Map(Object.entries(headers).map(([name, value]) => [name, headerLine(name, value)]))
    this.#text = [...this.#lines.values()].join('')
  }

  /** The lines of all headers that are not in `headers`, compared case-insensitively. */
  textBeside(headers: HeaderFields): string {
    if (Array.isArray(headers)) return this.#textBesideNames(headers.flat().filter((_field, index) => index % 2 === 0))
    for (const name in headers as Readonly<Record<string, unknown>>)
      if (this.#lines.has(name.toLowerCase())) return this.#textBesideNames(Object.keys(headers as object))
    return this.#text
  }

  #textBesideNames(names: readonly unknown[]): string {
    const set = new Set(names.map(name => String(name).toLowerCase()))
    return [...this.#lines]
      .filter(([name]) => !set.has(name))
      .map(([, line]) => line)
      .join('')
  }
}

/**
 * For the `ServerResponse` option of Node's HTTP servers. Node validates and concatenates every header of every reply,
 * at a fifth of a microsecond each. Headers checked at boot, or known to be valid, go in as text after the status line.
 */
export class TextHeadResponse<Request extends IncomingMessage = IncomingMessage> extends ServerResponse<Request> {
  // Declared as fields: properties added later would make V8 copy the response's overflow properties.
  [kBlock]: HeaderBlock | undefined = undefined;
  [kLines] = '';
  [kOnReplied]: (() => void) | undefined = undefined;
  [kOnClosed]: (() => void) | undefined = undefined

  override emit(event: string | symbol, ...given: unknown[]): boolean {
    if (event === 'prefinish') this[kOnReplied]?.()
    else if (event === 'close') this[kOnClosed]?.()
    else if (event === 'error' && this[kOnClosed] !== undefined && this.listenerCount('error') === 0) return false
    return super.emit(event, ...given)
  }

  _storeHeader(firstLine: string, headers: HeaderFields): void {
    const block = this[kBlock]
    const text = block === undefined ? this[kLines] : block.textBeside(headers) + this[kLines]
    storeHeader.call(this, firstLine + text, headers)
  }
}

/**
 * Whether this Node assembles replies with `_storeHeader`. If not, replies of {@link TextHeadResponse} would lack their
 * blocks, so Node's own class must be used.
 */
export function textHeadWorks(): boolean {
  const response = new TextHeadResponse(new IncomingMessage(new Socket()))
  let sent = ''
  const take = (chunk: Buffer, _encoding: string, done: () => void) => {
    sent += chunk
    done()
  }
  response.assignSocket(new Writable({ write: take }) as Socket)
  response[kBlock] = new HeaderBlock({ 'x-block': 'a', 'x-own': 'not this' })
  response[kLines] = headerLine('x-line', 'b')
  response.setHeader('x-own', 'c')
  response.end()
  return /^HTTP\/1\.1 200 OK\r\nx-block: a\r\nx-line: b\r\nx-own: c\r\n/.test(sent) && !sent.includes('not this')
}

/** Attaches the block to a response; false if the response is of another class and needs its headers set one by one. */
export function attachBlock(response: ServerResponse, block: HeaderBlock): boolean {
  if (!(response instanceof TextHeadResponse)) return false
  response[kBlock] = block
  return true
}

/** Calls `listener` when the last of the reply was handed over to be sent: within `end`, unlike the event `finish`. */
export function onReplied(response: ServerResponse, listener: () => void): void {
  if (response instanceof TextHeadResponse && response[kOnReplied] === undefined) response[kOnReplied] = listener
  else response.on('prefinish', listener)
}

/**
 * Calls `listener` when the reply was sent or cut off. From then on, a handler that writes after the end of its reply
 * does not crash the process; Fastify itself listens to such errors only where it logs.
 */
export function onClosed(response: ServerResponse, listener: () => void): void {
  if (response instanceof TextHeadResponse && response[kOnClosed] === undefined) response[kOnClosed] = listener
  else response.on('close', listener).on('error', ignore)
}

function ignore(): void {}

/** Whether the reply has a block. */
export const hasBlock = ({ raw }: FastifyReply): boolean => raw instanceof TextHeadResponse && raw[kBlock] !== undefined

/** A header line. It is not validated again, so name and value must not contain client input. */
export const headerLine = (name: string, value: string): string => `${name}: ${value}\r\n`

/**
 * Adds finished lines to a reply's head; false if its response is of another class. They are not in
 * `reply.getHeaders()` and do not replace a header of the same name: use only for lists or headers set nowhere else.
 */
export function addLines({ raw }: FastifyReply, lines: string): boolean {
  if (!(raw instanceof TextHeadResponse)) return false
  raw[kLines] += lines
  return true
}
