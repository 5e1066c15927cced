import { credentialsIn } from './credential-forms.ts'
import { plainText } from './log-text.ts'
import { Matcher, type Span } from './matcher.ts'
import { needlesOf, plainWordsOf, SHORTEST } from './needles.ts'

export const MASK = '***'

/** Words that are followed by a credential. */
const ANNOUNCING = /\b(?:bearer|basic|FlyV1) $/i
const LONGEST_ANNOUNCING = 8
const LONGEST_WORD = 4_096

/** What is known about the ends of an excerpt. */
export interface Excerpt {
  /** The text was cut here, possibly within a secret. */
  readonly isCutAtStart?: boolean
  readonly isCutAtEnd?: boolean
}

/**
 * A text as plain text, with these values masked.
 *
 * An excerpt may begin with the end of a secret, or end with the beginning of one. Both are masked, unless they are
 * three characters or fewer.
 */
export function redacted(text: string, secrets: Iterable<string>, excerpt: Excerpt = {}): string {
  const hidden = [...secrets]
  const plain = plainText(text)
  const redactor = new Redactor()
  for (const secret of hidden) redactor.hide(secret)
  const from = excerpt.isCutAtStart ? remainderAtStart(plain, hidden) : 0
  const until = excerpt.isCutAtEnd ? plain.length - beginningAtEnd(plain, hidden) : plain.length
  // Both ends may belong to the same secret, with this text in its middle.
  const inner = redactor.redact(plain.slice(from, Math.max(from, until))) + redactor.end()
  return (from > 0 ? MASK : '') + inner + (until < plain.length ? MASK : '')
}

/** How much of the text's start is the end of a secret. */
function remainderAtStart(text: string, secrets: readonly string[]): number {
  const backwards = needlesOf(secrets).map(reversed)
  return begunIn(reversed(text.slice(0, longestOf(backwards))), backwards)
}

function beginningAtEnd(text: string, secrets: readonly string[]): number {
  const needles = needlesOf(secrets)
  return begunIn(text.slice(-longestOf(needles)), needles)
}

/** Fewer characters match the beginning of something in every text. */
function begunIn(text: string, needles: readonly string[]): number {
  const { begun } = new Matcher(needles).scan(text)
  return begun >= SHORTEST ? begun : 0
}

const longestOf = (texts: readonly string[]) => texts.reduce((most, { length }) => Math.max(most, length), 0)

/** By UTF-16 units; the result is only compared. */
const reversed = (text: string) => text.split('').reverse().join('')

/**
 * Masks secrets in text that arrives in parts, cut anywhere. What may be the beginning of a secret is held back until
 * the next part decides. The time grows with the text, not with the secrets.
 */
export class Redactor {
  readonly #secrets = new Set<string>()
  /** Built from the secrets on first use. */
  #lookup: Lookup | undefined
  #held = ''
  /** How many held units are covered by a mask that has already been released. */
  #covered = 0
  /** Whether the held text continues a word that was already released. */
  #isInWord = false

  /**
   * Masks a value from now on, both literally and in its usual encodings. A plain word, of only letters or only digits,
   * is masked where it stands alone.
   */
  hide(secret: string): void {
    this.#secrets.add(plainText(secret))
    this.#lookup = undefined
  }

  /** @returns the part of the text so far that is certain */
  redact(part: string): string {
    const text = this.#held + part
    const { spans, begun } = this.#look(text)
    return this.#release(text, spans, Math.min(lastWordFrom(text), text.length - begun))
  }

  /** @returns the rest, once no more text follows */
  end(): string {
    const text = this.#held
    const released = this.#release(text, this.#look(text).spans, text.length)
    this.#isInWord = false
    return released
  }

  /** The spans of secrets; those that touch or overlap are one. */
  #look(text: string): { spans: Span[]; begun: number } {
    this.#lookup ??= lookupOf([...this.#secrets])
    const { matcher, words } = this.#lookup
    const { spans, begun } = matcher.scan(text)
    const covered = this.#covered > 0 ? [{ start: 0, end: this.#covered }] : []
    const alone = words.size > 0 ? wordsIn(text, words, this.#isInWord) : []
    return { spans: merged([...covered, ...spans, ...alone, ...credentialsIn(text)]), begun }
  }

  #release(text: string, spans: readonly Span[], until: number): string {
    let released = ''
    let position = 0
    for (const { start, end } of spans) {
      if (start >= until) break
      const isNew = start > 0 || this.#covered === 0
      released += text.slice(position, start) + (isNew ? MASK : '')
      position = end
    }
    if (position < until) released += text.slice(position, until)
    this.#held = text.slice(until)
    // Where nothing is certain yet, what was covered stays so.
    this.#covered = Math.max(0, Math.max(position, this.#covered) - until)
    if (until > 0) this.#isInWord = isOfWord(text.charCodeAt(until - 1))
    return released
  }
}

interface Lookup {
  readonly matcher: Matcher
  readonly words: ReadonlySet<string>
}

function lookupOf(secrets: readonly string[]): Lookup {
  return { matcher: new Matcher(needlesOf(secrets)), words: new Set(plainWordsOf(secrets)) }
}

/** The places where these words stand alone. */
function wordsIn(text: string, words: ReadonlySet<string>, isInWord: boolean): Span[] {
  const found: Span[] = []
  let start = isInWord ? -1 : 0
  for (let at = 0; at <= text.length; at++) {
    if (at < text.length && isOfWord(text.charCodeAt(at))) continue
    if (start >= 0 && at > start && words.has(text.slice(start, at))) found.push({ start, end: at })
    start = at + 1
  }
  return found
}

/** Letters and digits; anything beyond ASCII counts as a letter. */
function isOfWord(unit: number): boolean {
  return unit >= 128 || (unit >= 48 && unit <= 57) || (unit >= 65 && unit <= 90) || (unit >= 97 && unit <= 122)
}

/** Where the last word begins, which may be the start of a credential; includes a preceding announcing word. */
function lastWordFrom(text: string): number {
  let from = text.length
  while (from > Math.max(0, text.length - LONGEST_WORD) && !/\s/.test(text[from - 1]!)) from--
  const before = text.slice(Math.max(0, from - LONGEST_ANNOUNCING), from)
  return from - (ANNOUNCING.exec(before)?.[0].length ?? 0)
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
