import { type IncomingMessage, ServerResponse } from 'node:http'

const kBlock = Symbol('rhone.header-block')

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
    this.#lines = new Map(Object.entries(headers).map(([name, value]) => [name, `${name}: ${value}\r\n`]))
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
 * For the option `ServerResponse` of Node's HTTP servers. Node checks and concatenates every header of every reply, some
 * 3 microseconds for a dozen; a block that was checked at boot is put in as it is, right behind the status line.
 */
export class BlockResponse<Request extends IncomingMessage = IncomingMessage> extends ServerResponse<Request> {
  declare [kBlock]: HeaderBlock | undefined

  _storeHeader(firstLine: string, headers: HeaderFields): void {
    const block = this[kBlock]
    storeHeader.call(this, block === undefined ? firstLine : firstLine + block.textBeside(headers), headers)
  }
}
BlockResponse.prototype[kBlock] = undefined

/** Gives the block to a response; false when it is of another class, and the headers have to be set one by one. */
export function attachBlock(response: ServerResponse, block: HeaderBlock): boolean {
  if (!(response instanceof BlockResponse)) return false
  response[kBlock] = block
  return true
}
