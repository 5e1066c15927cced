import { StringDecoder } from 'node:string_decoder'
import type { LogEntry, LoggedLine } from '../protocol.ts'

/** Lines kept per app for later readers, and their characters in total. */
const [KEPT_LINES, KEPT_CHARACTERS] = [1_000, 1_000_000]
/** Characters per line; the rest is cut off. */
const LINE_LENGTH = 16_384
/** Lines per second, burst size, and the characters that count as one line: long lines count as several. */
const [RATE, BURST, LINE_COST] = [500, 2_000, 1_024]

/** An app's recent log, for any number of readers, each at its own pace. */
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

  /** Adds a line, unless the app exceeds its rate. @returns whether it was added */
  add(line: Omit<LoggedLine, 'number' | 'at' | 'region'> & { readonly region?: string | null }): boolean {
    if (line.source === 'app' && !this.#spend(1 + line.message.length / LINE_COST)) {
      this.#dropped += 1
      return false
    }
    if (this.#dropped > 0) this.#noteDropped(line.deploymentId)
    this.#keep({ region: null, ...line })
    return true
  }

  /** The last messages of one release. */
  tail(deploymentId: string, lines: number): string[] {
    return this.#lines
      .filter(line => line.deploymentId === deploymentId && line.source === 'app')
      .slice(-lines)
      .map(line => line.message)
  }

  /** The number before the first line not older than `since`, in milliseconds since 1970. */
  numberBefore(since: number | null): number {
    const first = since === null ? undefined : this.#lines.find(line => line.at >= since)
    return first === undefined ? this.#count : first.number - 1
  }

  /** The lines after a number, oldest first, preceded by the count of those no longer kept. */
  after(number: number, limit: number): readonly LogEntry[] {
    const oldest = this.#count - this.#lines.length + 1
    const lost = Math.max(oldest - 1 - number, 0)
    const start = Math.max(number + 1 - oldest, 0)
    const lines = this.#lines.slice(start, start + limit)
    return lost > 0 ? [{ dropped: lost }, ...lines] : lines
  }

  /** Calls back after every new line until the returned function is called. */
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

  #noteDropped(deploymentId: string | null): void {
    const message = `${this.#dropped} lines were dropped: an app may log ${RATE} per second.`
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

/** Splits output into lines; empty ones are left out. */
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

  /** Whether an unfinished line is pending. */
  get hasRest(): boolean {
    return this.#rest !== ''
  }

  /** Emits the pending text as a line: a prompt or a progress display may stay unfinished for long. */
  flush(): void {
    this.#flush()
  }

  end(): void {
    this.#append(this.#decoder.end())
    this.#flush()
  }

  /** Keeps one character more than fits, as a sign that there was more. */
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

/** The part of a line that a terminal shows: a carriage return starts it over. */
function visible(line: string): string {
  const text = line.endsWith('\r') ? line.slice(0, -1) : line
  return text.slice(text.lastIndexOf('\r') + 1)
}
