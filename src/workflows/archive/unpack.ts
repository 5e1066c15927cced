import { mkdir, open } from 'node:fs/promises'
import { dirname, join, normalize } from 'node:path'

const BLOCK = 512
const [FILE, OLD_FILE, DIRECTORY] = ['0', '\0', '5']

/**
 * Writes the files of an archive below a directory, without holding one in memory.
 *
 * @throws Error when the archive ends within a file, or contains anything but files and directories
 */
export async function unpackTo(directory: string, archive: AsyncIterable<Buffer>): Promise<void> {
  const source = new Source(archive[Symbol.asyncIterator]())
  for (;;) {
    const header = await source.take(BLOCK)
    if (header === null || header.every(byte => byte === 0)) break
    const name = textIn(header, 345, 155) + textIn(header, 0, 100)
    const size = Number.parseInt(textIn(header, 124, 12), 8)
    const kind = String.fromCharCode(header[156]!)
    const path = join(directory, within(name))
    if (!Number.isSafeInteger(size) || size < 0) throw new Error(`"${name}" has no size`)
    if (kind === DIRECTORY) await mkdir(path, { recursive: true, mode: 0o700 })
    else if (kind === FILE || kind === OLD_FILE) await write(path, source, size)
    else throw new Error(`"${name}" is neither a file nor a directory`)
  }
  await source.drain()
}

/** A name that leads out of the directory is refused. */
function within(name: string): string {
  const path = normalize(name)
  if (path.startsWith('/') || path === '..' || path.startsWith('../')) throw new Error(`"${name}" leads elsewhere`)
  return path
}

async function write(path: string, source: Source, size: number): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  const file = await open(path, 'wx', 0o600)
  try {
    for await (const piece of source.pieces(size)) await file.writeFile(piece)
    await file.sync()
  } finally {
    await file.close()
  }
  await source.take((BLOCK - (size % BLOCK)) % BLOCK)
}

const textIn = (block: Buffer, at: number, length: number) =>
  block.toString('utf8', at, at + length).replace(/\0.*$/s, '')

class Source {
  readonly #chunks: AsyncIterator<Buffer>
  #rest: Buffer = Buffer.alloc(0)

  constructor(chunks: AsyncIterator<Buffer>) {
    this.#chunks = chunks
  }

  /** Null at the end of the archive. */
  async take(size: number): Promise<Buffer | null> {
    const pieces = await Array.fromAsync(this.pieces(size, true))
    const taken = Buffer.concat(pieces)
    if (taken.length === 0 && size > 0) return null
    if (taken.length < size) throw new Error('the archive ends too early')
    return taken
  }

  async *pieces(size: number, mayEnd = false): AsyncGenerator<Buffer> {
    for (let left = size; left > 0; ) {
      if (this.#rest.length === 0) {
        const { done, value } = await this.#chunks.next()
        if (done && mayEnd) return
        if (done) throw new Error('the archive ends too early')
        this.#rest = value
      }
      const piece = this.#rest.subarray(0, left)
      this.#rest = this.#rest.subarray(piece.length)
      left -= piece.length
      yield piece
    }
  }

  /** Reads to the end, so that the archive's integrity check sees all of it. */
  async drain(): Promise<void> {
    for (let next = await this.#chunks.next(); !next.done; next = await this.#chunks.next());
  }
}
