import { StringDecoder } from 'node:string_decoder'
import type { LogEntry, LoggedLine } from '../protocol.ts'

/** Lines of an app that are kept for who comes later, and characters that they may have together. */
const [KEPT_LINES, KEPT_CHARACTERS] = [1_000, 1_000_000]
/** Characters of a line; what follows is left out. */
const LINE_LENGTH = 16_384
/** Lines per second that an app may say, and how many at once; a long one counts as several, each of so many characters. */
const [RATE, BURST, LINE_COST] = [500, 2_000, 1_024]

/** What an app has said of late, for any number of readers, each at its own pace. */
export class AppLog {
  readonly #lines: LoggedLine[] = []
  readonly #readers = new Set<() => void>()
  readonly #now: () => number
  #count = 0
  #size = 0
  #allowance = BURST
  #refilledAt: number
  #dropped = 0

  constructor(now: () => number = () => performance.now()) {
    this.#now = now
    this.#refilledAt = now()
  }

  /** Takes a line, unless the app says too much. @returns whether it has been taken */
  add(line: Omit<LoggedLine, 'number' | 'at' | 'region'> & { readonly region?: string | null }): boolean {
    if (line.source === 'app' && !this.#spend(1 + line.message.length / LINE_COST)) {
      this.#dropped += 1
      return false
    }
    if (this.#dropped > 0) this.#tellOfDropped(line.deploymentId)
    this.#keep({ region: null, ...line })
    return true
  }

  /** The messages of the last lines of one release. */
  tail(deploymentId: string, lines: number): string[] {
    return this.#lines
      .filter(line => line.deploymentId === deploymentId && line.source === 'app')
      .slice(-lines)
      .map(line => line.message)
  }

  /** The number before the first line that is not older than `since`, in milliseconds since 1970. */
  numberBefore(since: number | null): number {
    const first = since === null ? undefined : this.#lines.find(line => line.at >= since)
    return first === undefined ? this.#count : first.number - 1
  }

  /** The lines after one of them, oldest first; before them, how many are kept no longer. */
  after(number: number, limit: number): readonly LogEntry[] {
    const oldest = this.#count - this.#lines.length + 1
    const lost = Math.max(oldest - 1 - number, 0)
    const start = Math.max(number + 1 - oldest, 0)
    const lines = this.#lines.slice(start, start + limit)
    return lost > 0 ? [{ dropped: lost }, ...lines] : lines
  }

  /** Calls back after every new line, until the returned function is called. */
  onLine(reader: () => void): () => void {
    this.#readers.add(reader)
    return () => this.#readers.delete(reader)
  }

  #spend(cost: number): boolean {
    const now = this.#now()
    this.#allowance = Math.min(BURST, this.#allowance + ((now - this.#refilledAt) * RATE) / 1_000)
    this.#refilledAt = now
    if (this.#allowance < cost) return false
    this.#allowance -= cost
    return true
  }

  #tellOfDropped(deploymentId: string | null): void {
    const message = `${this.#dropped} lines are left out: an app may say ${RATE} a second.`
    this.#dropped = 0
    this.#keep({ deploymentId, level: 'warn', source: 'system', region: null, instance: null, message })
  }

  #keep(line: Omit<LoggedLine, 'number' | 'at'>): void {
    this.#count += 1
    this.#lines.push({ ...line, number: this.#count, at: Date.now() })
    this.#size += line.message.length
    while (this.#lines.length > KEPT_LINES || this.#size > KEPT_CHARACTERS)
      this.#size -= this.#lines.shift()!.message.length
    for (const reader of this.#readers) reader()
  }
}

/** Makes lines of what a process writes; those without a character are left out. */
export class LineSplitter {
  readonly #decoder = new StringDecoder('utf8')
  readonly #onLine: (line: string) => void
  #rest = ''

  constructor(onLine: (line: string) => void) {
    this.#onLine = onLine
  }

  write(chunk: Buffer): void {
    const parts = this.#decoder.write(chunk).split('\n')
    this.#append(parts[0]!)
    for (const part of parts.slice(1)) {
      this.#flush()
      this.#append(part)
    }
  }

  /** Whether something was written that no line end has followed yet. */
  get hasRest(): boolean {
    return this.#rest !== ''
  }

  /** Takes what is there for a line: a prompt, or progress, may be all that is said for long. */
  flush(): void {
    this.#flush()
  }

  end(): void {
    this.#append(this.#decoder.end())
    this.#flush()
  }

  /** One character more than fits is kept, which tells that there was more. */
  #append(text: string): void {
    if (this.#rest.length <= LINE_LENGTH) this.#rest += text.slice(0, LINE_LENGTH + 1 - this.#rest.length)
  }

  #flush(): void {
    const line = this.#rest.length > LINE_LENGTH ? `${this.#rest.slice(0, LINE_LENGTH - 1)}…` : this.#rest
    this.#rest = ''
    const text = visible(line).replaceAll('\0', '\uFFFD').toWellFormed()
    if (text.trim() !== '') this.#onLine(text)
  }
}

/** What a terminal shows of a line: a carriage return begins it anew. */
function visible(line: string): string {
  const text = line.endsWith('\r') ? line.slice(0, -1) : line
  return text.slice(text.lastIndexOf('\r') + 1)
}
