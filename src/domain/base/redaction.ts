import { credentialsIn } from './credential-forms.ts'
import { plainText } from './log-text.ts'
import { Matcher, type Span } from './matcher.ts'
import { needlesOf, plainWordsOf, SHORTEST } from './needles.ts'

export const MASK = '***'

/** Words that announce a credential, which is the next one. */
const ANNOUNCING = /\b(?:bearer|basic|FlyV1) $/i
const LONGEST_ANNOUNCING = 8
const LONGEST_WORD = 4_096

/** What is known of both ends of an excerpt. */
export interface Excerpt {
  /** The text begins or ends where it was cut, perhaps amid a secret. */
  readonly isCutAtStart?: boolean
  readonly isCutAtEnd?: boolean
}

/**
 * A text as plain text, without these values.
 *
 * An excerpt that was cut before may begin with the end of a secret, or end with the beginning of one: both are masked,
 * too, but for the last three characters.
 */
export function redacted(text: string, secrets: Iterable<string>, excerpt: Excerpt = {}): string {
  const hidden = [...secrets]
  const plain = plainText(text)
  const redactor = new Redactor()
  for (const secret of hidden) redactor.hide(secret)
  const from = excerpt.isCutAtStart ? remainderAtStart(plain, hidden) : 0
  const until = excerpt.isCutAtEnd ? plain.length - beginningAtEnd(plain, hidden) : plain.length
  // Both may be of one and the same secret, of which this is the middle.
  const inner = redactor.redact(plain.slice(from, Math.max(from, until))) + redactor.end()
  return (from > 0 ? MASK : '') + inner + (until < plain.length ? MASK : '')
}

/** How much of a text's start is the end of a secret. */
function remainderAtStart(text: string, secrets: readonly string[]): number {
  const backwards = needlesOf(secrets).map(reversed)
  return begunIn(reversed(text.slice(0, longestOf(backwards))), backwards)
}

function beginningAtEnd(text: string, secrets: readonly string[]): number {
  const needles = needlesOf(secrets)
  return begunIn(text.slice(-longestOf(needles)), needles)
}

/** Fewer characters are the beginning of something in every text. */
function begunIn(text: string, needles: readonly string[]): number {
  const { begun } = new Matcher(needles).scan(text)
  return begun >= SHORTEST ? begun : 0
}

const longestOf = (texts: readonly string[]) => texts.reduce((most, { length }) => Math.max(most, length), 0)

/** By UTF-16 units: nothing but a comparison is made of it. */
const reversed = (text: string) => text.split('').reverse().join('')

/**
 * Masks secrets in a text that comes in parts, however it is cut. What could be the beginning of a secret is held back
 * until the next part tells. The time that it takes grows with the text, and not with the secrets.
 */
export class Redactor {
  readonly #secrets = new Set<string>()
  /** Made of the secrets when it is needed. */
  #lookup: Lookup | undefined
  #held = ''
  /** How much of what is held is behind a mask that has been given already. */
  #covered = 0
  /** Whether what was released last goes on as a word in what is held. */
  #isInWord = false

  /**
   * Masks a value from now on, as it is and as it is usually encoded. A plain word, of letters or of digits only, is masked
   * where it stands alone.
   */
  hide(secret: string): void {
    this.#secrets.add(plainText(secret))
    this.#lookup = undefined
  }

  /** @returns as much of the text so far as can be told */
  redact(part: string): string {
    const text = this.#held + part
    const { spans, begun } = this.#look(text)
    return this.#release(text, spans, Math.min(lastWordFrom(text), text.length - begun))
  }

  /** @returns the rest, when nothing more comes */
  end(): string {
    const text = this.#held
    const released = this.#release(text, this.#look(text).spans, text.length)
    this.#isInWord = false
    return released
  }

  /** Where secrets are; those that touch or overlap as one. */
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
    this.#covered = Math.max(0, position - until)
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

/** Where these words stand alone. */
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

/** Letters and digits; whatever is not ASCII counts as a letter. */
function isOfWord(unit: number): boolean {
  return unit >= 128 || (unit >= 48 && unit <= 57) || (unit >= 65 && unit <= 90) || (unit >= 97 && unit <= 122)
}

/** Where the last word begins, which may be the beginning of a credential; with the word that announces that. */
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
