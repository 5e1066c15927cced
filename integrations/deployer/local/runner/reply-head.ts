import type { Socket } from 'node:net'

const END = /\r?\n\r?\n/
/** Longer ones are left to the parser to refuse. */
const MAX_HELD = 65_536
const NOTHING = Buffer.alloc(0)

const kHeads = Symbol('rhone.reply-heads')

/**
 * Merges equal Content-Length fields in an app's next reply, as RFC 9110 allows and browsers do; Node's parser refuses
 * such a reply. Differing lengths are left to the parser: nobody could tell where the reply ends.
 */
export function foldLengths(socket: Socket): void {
  const own = socket as Socket & { [kHeads]?: ReplyHeads }
  own[kHeads] ??= new ReplyHeads(socket)
  own[kHeads].expect()
}

/** Sits between a socket and Node's parser, and inspects only heads. */
class ReplyHeads {
  readonly #emit: Socket['emit']
  #isExpected = false
  #held: Buffer = NOTHING

  constructor(socket: Socket) {
    this.#emit = socket.emit.bind(socket)
    socket.emit = ((event: string, ...values: unknown[]) => {
      if (event === 'data' && this.#isExpected) return this.#read(values[0] as Buffer)
      if (event === 'end' || event === 'close') this.#passHeld()
      return this.#emit(event, ...values)
    }) as Socket['emit']
  }

  expect(): void {
    this.#isExpected = true
    this.#held = NOTHING
  }

  #read(chunk: Buffer): boolean {
    this.#held = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk])
    while (this.#isExpected && this.#held.length > 0) {
      const text = this.#held.toString('latin1', 0, MAX_HELD)
      const end = END.exec(text)
      if (end === null) {
        if (text.length >= MAX_HELD) this.#isExpected = false
        break
      }
      const size = end.index + end[0].length
      const head = text.slice(0, size)
      // An informational reply is followed by another one.
      this.#isExpected = /^HTTP\/1\.1 1(?!01)\d\d/.test(head)
      const folded = foldedHead(head)
      const rest = this.#held.subarray(size)
      if (folded !== head) this.#held = Buffer.concat([Buffer.from(folded, 'latin1'), rest])
      if (!this.#isExpected) break
      const passed = this.#held.subarray(0, this.#held.length - rest.length)
      this.#held = rest
      this.#emit('data', passed)
    }
    if (!this.#isExpected) this.#passHeld()
    return true
  }

  #passHeld(): void {
    const held = this.#held
    this.#held = NOTHING
    this.#isExpected = false
    if (held.length > 0) this.#emit('data', held)
  }
}

const LENGTH = /^content-length[ \t]*:([^\r\n]*)\r?\n/gim

/** @returns the same text if there is nothing to merge */
function foldedHead(head: string): string {
  const values = [...head.matchAll(LENGTH)].flatMap(([, value = '']) => value.split(',').map(length => length.trim()))
  const [first = ''] = values
  if (values.length < 2 || !/^\d+$/.test(first) || values.some(value => value !== first)) return head
  let isFirst = true
  return head.replace(LENGTH, () => {
    const line = isFirst ? `Content-Length: ${first}\r\n` : ''
    isFirst = false
    return line
  })
}
