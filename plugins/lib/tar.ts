/*
 * Tar archives as streams: a writer of the simplest form, and a reader that accepts only what every reader understands
 * the same way. The reader holds one block of 512 bytes and the current chunk, never a whole file.
 */

/** A file, directory or symbolic link to be written. */
export interface TarMember {
  /** Relative, with `/` between its parts. */
  readonly path: string
  readonly type: 'file' | 'directory' | 'link'
  /** Bytes of a file's content; 0 for directories and links. */
  readonly size: number
  readonly isExecutable: boolean
  /** The target of a link. */
  readonly target?: string
}

/** A member as read. Consume its content before asking for the next member. */
export interface TarEntry extends TarMember {
  readonly content: AsyncIterable<Buffer>
}

/**
 * The archive is damaged, or contains something unsupported. The message is a sentence about the archive, for its
 * author.
 */
export class TarError extends Error {
  override readonly name = 'TarError'
}

const BLOCK = 512
/** Maximum bytes of an extended header: a path of 4 KiB, a target, and some room for records we skip. */
const LONGEST_HEADER = 65_536
/**
 * Maximum bytes of zeros after the end, which compress to nothing: the largest record that tar writes, and some room.
 */
const MOST_PADDING = 4_194_304
const LONGEST_NAME = 100
const TYPES: Readonly<Record<string, TarMember['type']>> = {
  '\0': 'file',
  '0': 'file',
  '2': 'link',
  '5': 'directory',
  '7': 'file'
}
const REFUSED: Readonly<Record<string, string>> = {
  '1': 'a hard link',
  '3': 'a device',
  '4': 'a device',
  '6': 'a named pipe',
  S: 'a sparse file'
}

/**
 * The header of a member, preceded by an extended one if its names need it. The content follows, padded by {@link
 * padding}.
 */
export function tarHeader({ path, type, size, isExecutable, target = '' }: TarMember): Buffer {
  const name = type === 'directory' ? `${path}/` : path
  const isLong = (text: string) => Buffer.byteLength(text) > LONGEST_NAME || /[^\x20-\x7e]/.test(text)
  const extended = [
    ...(isLong(name) ? [record('path', name)] : []),
    ...(isLong(target) ? [record('linkpath', target)] : [])
  ].join('')
  const mode = type === 'link' ? 0o777 : isExecutable || type === 'directory' ? 0o755 : 0o644
  const flag = type === 'file' ? '0' : type === 'link' ? '2' : '5'
  const own = block({ name: cut(name), mode, size, flag, target: cut(target) })
  if (extended === '') return own
  const bytes = Buffer.from(extended)
  const head = block({ name: 'PaxHeader', mode: 0o644, size: bytes.length, flag: 'x', target: '' })
  return Buffer.concat([head, bytes, padding(bytes.length), own])
}

/** The padding after content of this many bytes. */
export const padding = (size: number): Buffer => Buffer.alloc((BLOCK - (size % BLOCK)) % BLOCK)

/** The end of an archive. */
export const TAR_END: Buffer = Buffer.alloc(2 * BLOCK)

/** A record of an extended header, which begins with its own length. */
function record(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`
  const length = Buffer.byteLength(rest)
  const digits = String(length + String(length).length).length
  return `${length + digits}${rest}`
}

/** The first bytes of a name; the extended header has all of it. */
const cut = (name: string) => Buffer.from(name).subarray(0, LONGEST_NAME)

interface Block {
  readonly name: string | Buffer
  readonly mode: number
  readonly size: number
  readonly flag: string
  readonly target: string | Buffer
}

/** Owners and times are left out, so that the same tree always gives the same archive. */
function block({ name, mode, size, flag, target }: Block): Buffer {
  const bytes = Buffer.alloc(BLOCK)
  bytes.set(Buffer.from(name), 0)
  bytes.write(`${octal(mode, 7)}\0${octal(0, 7)}\0${octal(0, 7)}\0${octal(size, 11)}\0${octal(0, 11)}\0`, 100)
  bytes.write('        ', 148)
  bytes.write(flag, 156)
  bytes.set(Buffer.from(target), 157)
  bytes.write('ustar\x0000', 257)
  bytes.write(`${octal(sumOf(bytes), 6)}\0 `, 148)
  return bytes
}

const octal = (value: number, digits: number) => value.toString(8).padStart(digits, '0')
const isZero = (bytes: Buffer) => bytes.every(byte => byte === 0)
const sumOf = (bytes: Buffer) => bytes.reduce((sum, byte) => sum + byte, 0)

/**
 * Reads the members of an archive in order. Paths are returned as the archive has them; the caller decides whether they
 * are safe to write.
 * @throws TarError if the archive is damaged, cut off, or has members other than files, directories and symbolic links
 */
export async function* readTar(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<TarEntry> {
  const bytes = new ByteReader(chunks)
  let extended: Record<string, string> = {}
  for (;;) {
    const head = await bytes.take(BLOCK)
    if (head === null) throw new TarError('The archive is truncated.')
    if (isZero(head)) return await bytes.requireZeros()
    const { flag, size, ...named } = parseBlock(head)
    if ('xgLK'.includes(flag) && size > LONGEST_HEADER)
      throw new TarError('The archive has an extended header that is longer than any path.')
    if (flag === 'x' || flag === 'L' || flag === 'K') {
      const content = await bytes.take(size + padding(size).length)
      if (content === null) throw new TarError('The archive is truncated.')
      extended = { ...extended, ...extendedBy(flag, content.subarray(0, size)) }
      continue
    }
    if (flag === 'g') {
      // Global headers hold comments, such as the commit of `git archive`.
      await bytes.skip(size + padding(size).length)
      continue
    }
    const path = extended.path ?? named.path()
    const type = path.endsWith('/') && (flag === '0' || flag === '\0') ? 'directory' : TYPES[flag]
    if (type === undefined || extended['GNU.sparse.major'] !== undefined || extended.size !== undefined)
      throw new TarError(`${JSON.stringify(path)} is ${REFUSED[flag] ?? 'of a type'}, which is not supported.`)
    if (type !== 'file' && size > 0) throw new TarError(`${JSON.stringify(path)} is not a file, but has content.`)
    const target = extended.linkpath ?? (type === 'link' ? named.target() : '')
    extended = {}
    const content = bytes.content(size)
    yield { path, type, size, isExecutable: (named.mode & 0o111) !== 0, ...(type === 'link' && { target }), content }
    for await (const _ of content); // content that the caller has not read
    await bytes.skip(padding(size).length)
  }
}

function parseBlock(head: Buffer) {
  const sum = readOctal(head, 148, 8)
  const copy = Buffer.from(head)
  copy.fill(' ', 148, 156)
  if (sum !== sumOf(copy)) throw new TarError('This is not a tar archive, or it is damaged.')
  const flag = String.fromCharCode(head[156]!)
  const isUstar = head.toString('latin1', 257, 263) === 'ustar\0'
  return {
    flag,
    size: readOctal(head, 124, 12),
    mode: readOctal(head, 100, 8),
    // Decoded on demand: an extended header replaces names that do not fit, and those are cut anywhere.
    path: () => [...(isUstar ? [text(head, 345, 155)] : []), text(head, 0, 100)].filter(Boolean).join('/'),
    target: () => text(head, 157, 100)
  }
}

function text(head: Buffer, start: number, length: number): string {
  const field = head.subarray(start, start + length)
  const end = field.indexOf(0)
  return decode(end < 0 ? field : field.subarray(0, end))
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function decode(bytes: Buffer): string {
  try {
    return utf8.decode(bytes)
  } catch {
    throw new TarError('The archive has a name that is not UTF-8.')
  }
}

/** Numbers of more than eleven octal digits use base 256, and exceed our limits anyway. */
function readOctal(head: Buffer, start: number, length: number): number {
  const field = head.toString('latin1', start, start + length)
  if (!/^ *[0-7]*[ \0]*$/.test(field))
    throw new TarError('The archive is damaged, or contains a file that is too large.')
  return Number.parseInt(field.trim().replaceAll('\0', '') || '0', 8)
}

/**
 * The fields that an extended header sets for the next member: any of them by POSIX (`x`), its path (`L`) or its target
 * (`K`) by GNU.
 */
function extendedBy(flag: string, content: Buffer): Record<string, string> {
  if (flag !== 'x') {
    const end = content.indexOf(0)
    return { [flag === 'L' ? 'path' : 'linkpath']: decode(end < 0 ? content : content.subarray(0, end)) }
  }
  const found: Record<string, string> = {}
  for (let at = 0; at < content.length; ) {
    const space = content.indexOf(' ', at)
    const length = Number(content.toString('latin1', at, space < 0 ? at : space))
    const line = content.subarray(space + 1, at + length)
    if (space < 0 || !Number.isInteger(length) || length < 5 || at + length > content.length || line.at(-1) !== 10)
      throw new TarError('The archive has a damaged extended header.')
    const equals = line.indexOf('=')
    const key = line.toString('latin1', 0, equals)
    if (key === 'path' || key === 'linkpath' || key === 'size' || key === 'GNU.sparse.major')
      found[key] = decode(line.subarray(equals + 1, -1))
    at += length
  }
  return found
}

/** Reads exact numbers of bytes from chunks of any size. */
class ByteReader {
  readonly #chunks: AsyncIterator<Uint8Array>
  #rest: Buffer = Buffer.alloc(0)

  constructor(chunks: AsyncIterable<Uint8Array>) {
    this.#chunks = chunks[Symbol.asyncIterator]()
  }

  async #next(): Promise<Buffer | null> {
    if (this.#rest.length > 0) return this.#rest
    for (;;) {
      const { done, value } = await this.#chunks.next()
      if (done === true) return null
      if (value.length > 0) return Buffer.from(value.buffer, value.byteOffset, value.length)
    }
  }

  /** At least one and at most `most` bytes; null at the end. */
  async some(most: number): Promise<Buffer | null> {
    const chunk = await this.#next()
    if (chunk === null) return null
    this.#rest = chunk.subarray(most)
    return chunk.subarray(0, most)
  }

  /** Exactly `length` bytes; null if fewer are left. */
  async take(length: number): Promise<Buffer | null> {
    const parts: Buffer[] = []
    for (let missing = length; missing > 0; ) {
      const part = await this.some(missing)
      if (part === null) return null
      parts.push(part)
      missing -= part.length
    }
    return parts.length === 1 ? parts[0]! : Buffer.concat(parts)
  }

  /** Reads the padding up to the end. Readers would disagree about anything but zeros. */
  async requireZeros(): Promise<void> {
    let bytes = 0
    for (let part = await this.some(BLOCK); part !== null; part = await this.some(BLOCK)) {
      if (!isZero(part)) throw new TarError('The archive has data after its end.')
      bytes += part.length
      if (bytes > MOST_PADDING) throw new TarError('The archive has too much padding at its end.')
    }
  }

  async skip(length: number): Promise<void> {
    for await (const _ of this.content(length));
  }

  /** The next bytes, as they arrive. A second iteration continues where the first one stopped. */
  content(length: number): AsyncIterable<Buffer> {
    let missing = length
    const next = async (): Promise<IteratorResult<Buffer>> => {
      if (missing === 0) return { done: true, value: undefined }
      const part = await this.some(missing)
      if (part === null) throw new TarError('The archive is truncated.')
      missing -= part.length
      return { done: false, value: part }
    }
    return { [Symbol.asyncIterator]: () => ({ next }) }
  }
}
