import { randomUUID } from 'node:crypto'
import { createReadStream, type Stats } from 'node:fs'
import { type FileHandle, lstat, open, readdir, readFile, readlink, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, posix } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { createGzip } from 'node:zlib'
import type { Ignore } from 'ignore'
import { ARCHIVE_LIMITS } from '../../plugins/lib/source-archive.ts'
import { padding, TAR_END, type TarMember, tarHeader } from '../../plugins/lib/tar.ts'
import { CommandError } from './command.ts'
import { FOLDER_FILE } from './folder.ts'
import { size as inWords } from './terminal.ts'

/** A folder, packed into a temporary file that ends with this process. */
export interface Packed extends AsyncDisposable {
  /** The archive from its beginning. */
  read(): AsyncGenerator<Buffer>
  /** Bytes of the archive. */
  readonly bytes: number
  readonly files: number
  /** Omitted although no rule says so: sockets and the like. */
  readonly skipped: readonly string[]
}

/** Files in `.gitignore` syntax, in any folder; the second one extends and overrides the first. */
const RULE_FILES = ['.gitignore', '.rhoneignore']
/** Omitted unless a rule such as `!.env` says otherwise. */
const LEFT_OUT = ['node_modules/', '.env', '.env.*', '!.env.example', '.DS_Store', '.rhone/', FOLDER_FILE]
/** Never packed, whatever the rules say. */
const NEVER = new Set(['.git', '.hg', '.svn'])

/** The server's limits, checked here before a disk fills up or time is wasted. */
export interface PackLimits {
  /** Total bytes of all files. */
  readonly bytes: number
  /** Files, folders and links. */
  readonly entries: number
  /** Bytes of the archive. */
  readonly packed: number
}
const LIMITS: PackLimits = { ...ARCHIVE_LIMITS, packed: 67_108_864 }
/** Bytes that are read at a time. */
const CHUNK = 65_536
/** Number of large folders to name when the limit is exceeded. */
const NAMED = 3

interface Rules {
  /** The folder that the rules apply to, relative to the root; '' for the root. */
  readonly below: string
  readonly matcher: Ignore
}

/**
 * Packs the files of a folder that its ignore files do not exclude. The same files always make the same archive.
 * @throws CommandError when a file cannot be read or changes meanwhile, a link leads out of the folder, or the archive
 * exceeds the server's limits
 */
export async function pack(
  root: string,
  onFile: (path: string, count: number) => void,
  limits: PackLimits = LIMITS
): Promise<Packed> {
  const found = await stat(root).catch(() => null)
  if (!found?.isDirectory()) throw new CommandError(`${root} is not a folder`)
  const ignore = (await import('ignore')).default as unknown as () => Ignore
  const skipped: string[] = []
  const handle = await openNameless()
  let written = 0
  const tally = new Tally(root, limits)
  let files = 0

  async function* archive(): AsyncGenerator<Buffer> {
    const builtIn: Rules = { below: '', matcher: ignore().add(LEFT_OUT) }
    for await (const member of walk(root, '', [builtIn], ignore)) {
      if (typeof member === 'string') {
        skipped.push(member)
        continue
      }
      tally.add(member, written)
      yield tarHeader(member)
      if (member.type !== 'file') continue
      onFile(member.path, ++files)
      yield* contentOf(join(root, member.path), member)
    }
    if (files === 0) throw new CommandError(`nothing to deploy in ${root}: it is empty, or everything in it is ignored`)
    yield TAR_END
  }

  try {
    await pipeline(archive(), createGzip(), async packed => {
      for await (const chunk of packed as AsyncIterable<Buffer>) {
        await handle.writeFile(chunk)
        written += chunk.length
      }
    })
    tally.check(written)
  } catch (error) {
    await handle.close()
    throw error
  }
  return {
    read: () => contentOfHandle(handle),
    bytes: written,
    files,
    skipped,
    [Symbol.asyncDispose]: () => handle.close()
  }
}

/** From the beginning, as often as it is asked for; a stream would close the file with itself. */
async function* contentOfHandle(handle: FileHandle): AsyncGenerator<Buffer> {
  for (let position = 0; ; ) {
    const { bytesRead, buffer } = await handle.read(Buffer.allocUnsafe(CHUNK), 0, CHUNK, position)
    if (bytesRead === 0) return
    position += bytesRead
    yield buffer.subarray(0, bytesRead)
  }
}

/** Source code is left to nobody, even if this process is killed: the file has lost its name before it has content. */
async function openNameless(): Promise<FileHandle> {
  const path = join(tmpdir(), `rhone-${randomUUID()}.tgz`)
  const handle = await open(path, 'wx+', 0o600)
  await rm(path)
  return handle
}

/** Adds up what is packed, by the first component of its path. */
class Tally {
  readonly #root: string
  readonly #limits: PackLimits
  readonly #places = new Map<string, { bytes: number; entries: number }>()
  #bytes = 0
  #entries = 0

  constructor(root: string, limits: PackLimits) {
    this.#root = root
    this.#limits = limits
  }

  /** @throws CommandError when a limit is exceeded */
  add({ path, size }: TarMember, packed: number): void {
    const [top = path] = path.split('/')
    const place = this.#places.get(top) ?? { bytes: 0, entries: 0 }
    this.#places.set(top, { bytes: place.bytes + size, entries: place.entries + 1 })
    this.#bytes += size
    this.#entries += 1
    this.check(packed)
  }

  check(packed: number): void {
    const { bytes, entries, packed: most } = this.#limits
    if (this.#entries > entries) throw this.#tooMuch(`more than ${entries} files and folders`, 'entries')
    if (this.#bytes > bytes) throw this.#tooMuch(`more than ${inWords(bytes)} of files`, 'bytes')
    if (packed > most) throw this.#tooMuch(`more than ${inWords(most)} when packed`, 'bytes')
  }

  #tooMuch(what: string, by: 'bytes' | 'entries'): CommandError {
    const largest = [...this.#places].toSorted(([, one], [, other]) => other[by] - one[by]).slice(0, NAMED)
    const named = largest.map(
      ([top, place]) => `${top} (${by === 'bytes' ? inWords(place.bytes) : `${place.entries} entries`})`
    )
    return new CommandError(
      `${this.#root} has ${what}, too much for one upload. Most of it is in ${named.join(', ')}: list what the app does not need in .rhoneignore, or deploy a smaller folder with --path`
    )
  }
}

/** Yields the members to pack, ordered by name, and only the path of what cannot be packed. */
async function* walk(
  root: string,
  below: string,
  inherited: readonly Rules[],
  ignore: () => Ignore
): AsyncGenerator<TarMember | string> {
  const own = await rulesOf(root, below, ignore)
  const rules = own === null ? inherited : [...inherited, own]
  for (const name of (await readdir(join(root, below))).sort()) {
    const path = posix.join(below, name)
    const stats = await lstat(join(root, path))
    if (NEVER.has(name) || isIgnored(path, stats.isDirectory(), rules)) continue
    const member = await memberOf(root, path, stats)
    yield member
    if (typeof member !== 'string' && member.type === 'directory') yield* walk(root, path, rules, ignore)
  }
}

async function rulesOf(root: string, below: string, ignore: () => Ignore): Promise<Rules | null> {
  const texts: string[] = []
  for (const name of RULE_FILES) {
    const text = await readFile(join(root, below, name), 'utf8').catch(() => null)
    if (text !== null) texts.push(text)
  }
  return texts.length === 0 ? null : { below, matcher: ignore().add(texts.join('\n')) }
}

/** As in git, the rules of the deepest folder that has a matching one decide. */
function isIgnored(path: string, isDirectory: boolean, rules: readonly Rules[]): boolean {
  let isOut = false
  for (const { below, matcher } of rules) {
    const relative = below === '' ? path : path.slice(below.length + 1)
    const { ignored, unignored } = matcher.test(isDirectory ? `${relative}/` : relative)
    if (ignored) isOut = true
    else if (unignored) isOut = false
  }
  return isOut
}

async function memberOf(root: string, path: string, stats: Stats): Promise<TarMember | string> {
  const isExecutable = (stats.mode & 0o111) !== 0
  if (stats.isFile()) return { path, type: 'file', size: stats.size, isExecutable }
  if (stats.isDirectory()) return { path, type: 'directory', size: 0, isExecutable }
  if (!stats.isSymbolicLink()) return path
  const target = await readlink(join(root, path))
  const leadsTo = posix.join(posix.dirname(path), target)
  if (target.startsWith('/') || leadsTo === '..' || leadsTo.startsWith('../'))
    throw new CommandError(
      `the link ${path} points outside the folder, to ${target}: remove it, or list it in .rhoneignore`
    )
  return { path, type: 'link', size: 0, isExecutable: false, target }
}

async function* contentOf(place: string, { path, size }: TarMember): AsyncGenerator<Buffer> {
  let left = size
  try {
    if (size > 0)
      for await (const chunk of createReadStream(place, { end: size - 1 })) {
        left -= (chunk as Buffer).length
        yield chunk as Buffer
      }
  } catch (error) {
    throw new CommandError(`${path} cannot be read (${(error as NodeJS.ErrnoException).code})`)
  }
  if (left !== 0) throw new CommandError(`${path} changed while it was being packed: try again`)
  yield padding(size)
}
