/** One file of an archive. */
export interface Member {
  readonly name: string
  readonly content: Buffer
}

const BLOCK = 512
const LONGEST_NAME = 100
/** Members are held in memory. Ours have 4 MiB, or one row if that is larger. */
const LARGEST_MEMBER = 2 ** 31

/** Writes an archive that any `tar` can unpack. */
export async function* packed(members: AsyncIterable<Member>): AsyncGenerator<Buffer> {
  for await (const { name, content } of members) {
    yield header(name, content.length)
    yield content
    yield Buffer.alloc(padding(content.length))
  }
  yield Buffer.alloc(2 * BLOCK)
}

function header(name: string, size: number): Buffer {
  if (Buffer.byteLength(name) > LONGEST_NAME) throw new Error(`"${name}" is too long a name for an archive`)
  const block = Buffer.alloc(BLOCK)
  block.write(name, 0)
  const octal = (value: number, at: number, digits: number) => block.write(value.toString(8).padStart(digits, '0'), at)
  octal(0o600, 100, 7)
  octal(0, 108, 7)
  octal(0, 116, 7)
  octal(size, 124, 11)
  octal(0, 136, 11)
  block.fill(' ', 148, 156)
  block.write('0', 156)
  block.write('ustar\0', 257)
  block.write('00', 263)
  octal(checksum(block), 148, 6)
  block[154] = 0
  return block
}

/** @throws Error when the archive is damaged or ends too early */
export async function* unpacked(archive: AsyncIterable<Uint8Array>): AsyncGenerator<Member> {
  const reader = new Reader(archive[Symbol.asyncIterator]())
  for (;;) {
    const block = await reader.take(BLOCK)
    if (block.every(byte => byte === 0)) break
    const name = textIn(block, 0, LONGEST_NAME)
    const size = Number.parseInt(textIn(block, 124, 12), 8)
    if (Number.parseInt(textIn(block, 148, 8), 8) !== checksum(block) || !(size >= 0 && size <= LARGEST_MEMBER))
      throw new Error('the archive is damaged')
    const content = await reader.take(size)
    await reader.take(padding(size))
    yield { name, content }
  }
  await reader.end()
}

/** The sum of a header's bytes, with spaces in place of the sum itself. */
function checksum(block: Buffer): number {
  return block.reduce((sum, byte, at) => sum + (at >= 148 && at < 156 ? 32 : byte), 0)
}

const padding = (size: number): number => (BLOCK - (size % BLOCK)) % BLOCK
const textIn = (block: Buffer, at: number, length: number) =>
  block.toString('utf8', at, at + length).replace(/\0.*$/s, '')

class Reader {
  readonly #source: AsyncIterator<Uint8Array>
  #rest: Uint8Array = Buffer.alloc(0)

  constructor(source: AsyncIterator<Uint8Array>) {
    this.#source = source
  }

  async take(size: number): Promise<Buffer> {
    const taken = Buffer.allocUnsafe(size)
    for (let filled = 0; filled < size; ) {
      if (this.#rest.length === 0) {
        const { done, value } = await this.#source.next()
        if (done) throw new Error('the archive ends too early')
        this.#rest = value
      }
      const part = this.#rest.subarray(0, size - filled)
      taken.set(part, filled)
      filled += part.length
      this.#rest = this.#rest.subarray(part.length)
    }
    return taken
  }

  /** Reads to the end, so that the archive's integrity check sees all of it. */
  async end(): Promise<void> {
    for (let next = await this.#source.next(); !next.done; next = await this.#source.next())
      if (next.value.some(byte => byte !== 0)) throw new Error('the archive goes on after its end')
    if (this.#rest.some(byte => byte !== 0)) throw new Error('the archive goes on after its end')
  }
}
