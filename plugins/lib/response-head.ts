import { IncomingMessage, ServerResponse } from 'node:http'
import { Socket } from 'node:net'
import { Writable } from 'node:stream'
import type { FastifyReply } from 'fastify'

const kBlock = Symbol('rhone.header-block')
const kLines = Symbol('rhone.header-lines')

type HeaderFields = Readonly<Record<string, unknown>> | readonly unknown[] | undefined

/** Node's own method, which its types do not show: puts together the head of a reply. */
interface WithStoreHeader {
  _storeHeader(firstLine: string, headers: HeaderFields): void
}
const { _storeHeader: storeHeader } = ServerResponse.prototype as unknown as WithStoreHeader

/** Headers that are the same in every reply, as text. What a reply sets itself goes before. */
export class HeaderBlock {
  readonly #lines: ReadonlyMap<string, string>
  readonly #text: string

  /** @param headers by lower-case name */
  constructor(headers: Readonly<Record<string, string>>) {
    this.#lines = new Map(Object.entries(headers).map(([name, value]) => [name, headerLine(name, value)]))
    this.#text = [...this.#lines.values()].join('')
  }

  /** The lines of all headers but those that are in `headers`, however these are spelt. */
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
 * For the option `ServerResponse` of Node's HTTP servers. Node checks and concatenates every header of every reply, a
 * fifth of a microsecond each; what was checked at boot, or cannot be wrong, is put in as text behind the status line.
 */
export class TextHeadResponse<Request extends IncomingMessage = IncomingMessage> extends ServerResponse<Request> {
  // Fields, not properties that are added later: these would make V8 copy a response's overflowing properties.
  [kBlock]: HeaderBlock | undefined = undefined;
  [kLines] = ''

  _storeHeader(firstLine: string, headers: HeaderFields): void {
    const block = this[kBlock]
    const text = block === undefined ? this[kLines] : block.textBeside(headers) + this[kLines]
    storeHeader.call(this, firstLine + text, headers)
  }
}

/**
 * Whether this Node puts replies together by `_storeHeader`. One that does not would send the replies of
 * {@link TextHeadResponse} without any of their blocks, so it must be given Node's own class.
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

/** Gives the block to a response; false when it is of another class, and the headers have to be set one by one. */
export function attachBlock(response: ServerResponse, block: HeaderBlock): boolean {
  if (!(response instanceof TextHeadResponse)) return false
  response[kBlock] = block
  return true
}

/** Whether the reply carries a block. */
export const hasBlock = ({ raw }: FastifyReply): boolean => raw instanceof TextHeadResponse && raw[kBlock] !== undefined

/** A line of the head. Nobody checks it again, so name and value must be free of what a client could have put there. */
export const headerLine = (name: string, value: string): string => `${name}: ${value}\r\n`

/**
 * Adds finished lines to the head of a reply; false when its response is of another class. They are no part of
 * `reply.getHeaders()`, and stand beside a header of that name: only for such as nothing else sets, or are lists.
 */
export function addLines({ raw }: FastifyReply, lines: string): boolean {
  if (!(raw instanceof TextHeadResponse)) return false
  raw[kLines] += lines
  return true
}
