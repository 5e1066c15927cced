import { plainText } from './log-text.ts'

export const MASK = '***'

/** Shorter values are in every text; to mask them would hide the text, not the value. */
const SHORTEST = 4
const SHORTEST_LINE = 8
const SHORTEST_ENCODED = 6

/** Longer values are looked for piece by piece, so that little text has to wait for what comes next. */
const PIECE = 256

/** Credentials that are known by their form, whoever has issued them. */
const FORMS = [
  /\bgh[pousr]_\w{16,}/g,
  /\bgithub_pat_\w{16,}/g,
  /\brhone_\w{16,}/g,
  /\b[sr]k_(?:live|test)_\w{8,}/g,
  /\bFlyV1 \S{8,}/g,
  /\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*/g,
  /(?<=\b(?:bearer|basic) )[\w.~+/=-]{8,}/gi,
  /(?<=:\/\/[^\s/:@]{0,256}:)[^\s/@]+(?=@)/g,
  /(?<=\bx-access-token:)[^\s@]+/g
]

/** Words that announce a credential, which is the next one. */
const ANNOUNCING = /\b(?:bearer|basic|FlyV1) $/i
const LONGEST_ANNOUNCING = 8
const LONGEST_WORD = 4_096

interface Span {
  readonly start: number
  readonly end: number
}

/** A text as plain text, without these values. */
export function redacted(text: string, secrets: Iterable<string>): string {
  const redactor = new Redactor()
  for (const secret of secrets) redactor.hide(secret)
  return redactor.redact(plainText(text)) + redactor.end()
}

/**
 * Masks secrets in a text that comes in parts, however it is cut. What could be the beginning of a secret is held back
 * until the next part tells.
 */
export class Redactor {
  /** By their first characters, where they are looked for. */
  readonly #byStart = new Map<string, string[]>()
  /** The same in order, where it is looked for what begins like one of them. */
  #sorted: string[] = []
  #held = ''
  /** How much of what is held is behind a mask that has been given already. */
  #covered = 0

  /** Masks a value from now on, as it is and as it is usually encoded. */
  hide(secret: string): void {
    const known = new Set(this.#sorted)
    for (const needle of needlesOf(plainText(secret))) known.add(needle)
    this.#sorted = [...known].sort(byCodeUnit)
    this.#byStart.clear()
    for (const needle of this.#sorted) {
      const start = needle.slice(0, SHORTEST)
      this.#byStart.set(start, [...(this.#byStart.get(start) ?? []), needle])
    }
  }

  /** @returns as much of the text so far as can be told */
  redact(part: string): string {
    const text = this.#held + part
    return this.#release(text, this.#heldFrom(text))
  }

  /** @returns the rest, when nothing more comes */
  end(): string {
    const text = this.#held
    return this.#release(text, text.length)
  }

  #release(text: string, until: number): string {
    let released = ''
    let position = 0
    for (const { start, end } of this.#spans(text)) {
      if (start >= until) break
      const isNew = start > 0 || this.#covered === 0
      released += text.slice(position, start) + (isNew ? MASK : '')
      position = end
    }
    if (position < until) released += text.slice(position, until)
    this.#held = text.slice(until)
    this.#covered = Math.max(0, position - until)
    return released
  }

  /** Where secrets are; those that touch or overlap as one. */
  #spans(text: string): Span[] {
    const found: Span[] = this.#covered > 0 ? [{ start: 0, end: this.#covered }] : []
    for (let start = 0; start <= text.length - SHORTEST; start++)
      for (const needle of this.#byStart.get(text.slice(start, start + SHORTEST)) ?? [])
        if (text.startsWith(needle, start)) found.push({ start, end: start + needle.length })
    for (const form of FORMS)
      for (const { index, 0: match } of text.matchAll(form)) found.push({ start: index, end: index + match.length })
    return merged(found)
  }

  #heldFrom(text: string): number {
    const word = lastWordFrom(text)
    for (let from = Math.max(0, text.length - PIECE + 1); from < word; from++)
      if (this.#begins(text.slice(from))) return from
    return word
  }

  /** Whether some needle begins like this and is longer. */
  #begins(text: string): boolean {
    let low = 0
    let high = this.#sorted.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#sorted[middle]! <= text) low = middle + 1
      else high = middle
    }
    return this.#sorted[low]?.startsWith(text) === true
  }
}

/** Where the last word begins, which may be the beginning of a credential; with the word that announces that. */
function lastWordFrom(text: string): number {
  let from = text.length
  while (from > Math.max(0, text.length - LONGEST_WORD) && !/\s/.test(text[from - 1]!)) from--
  const before = text.slice(Math.max(0, from - LONGEST_ANNOUNCING), from)
  return from - (ANNOUNCING.exec(before)?.[0].length ?? 0)
}

function byCodeUnit(a: string, b: string): number {
  return a < b ? -1 : Number(a > b)
}

function merged(spans: Span[]): Span[] {
  const result: Span[] = []
  for (const span of spans.sort((a, b) => a.start - b.start)) {
    const last = result.at(-1)
    if (last !== undefined && span.start <= last.end)
      result[result.length - 1] = { start: last.start, end: Math.max(last.end, span.end) }
    else result.push(span)
  }
  return result
}

/** Everything that gives a secret away: itself, its lines, and both as programs print and encode them. */
function needlesOf(secret: string): string[] {
  const lines = secret.split('\n').map(line => line.trim())
  const values = [secret, secret.trim(), ...lines.filter(line => line.length >= SHORTEST_LINE)]
  return values
    .flatMap(value => (value.length >= SHORTEST ? [value, ...encodingsOf(value)] : []))
    .flatMap(piecesOf)
    .filter(needle => needle.length >= SHORTEST)
}

function encodingsOf(value: string): string[] {
  const url = encodeURIComponent(value)
  const form = new URLSearchParams([['', value]]).toString().slice(1)
  const lowerCase = (text: string) => text.replaceAll(/%[0-9A-F]{2}/g, code => code.toLowerCase())
  const text = [JSON.stringify(value).slice(1, -1), url, form, lowerCase(url), lowerCase(form)]
  return value.length < SHORTEST_ENCODED ? text : [...text, ...base64Of(value), Buffer.from(value).toString('hex')]
}

/**
 * A value in base64, as it stands at each of three places in what was encoded with it, by the characters that depend on
 * nothing else.
 */
function base64Of(value: string): string[] {
  const bytes = Buffer.from(value)
  return [0, 1, 2].flatMap(offset => {
    const encoded = Buffer.concat([Buffer.alloc(offset), bytes]).toString('base64')
    const first = Math.ceil((offset * 8) / 6)
    const inner = encoded.slice(first, Math.floor(((offset + bytes.length) * 8) / 6))
    return [inner, inner.replaceAll('+', '-').replaceAll('/', '_')]
  })
}

function piecesOf(value: string): string[] {
  if (value.length <= PIECE) return [value]
  return Array.from({ length: Math.ceil(value.length / PIECE) }, (_, at) => value.slice(at * PIECE, (at + 1) * PIECE))
}
