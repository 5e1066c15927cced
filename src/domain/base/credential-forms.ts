import type { Span } from './matcher.ts'

/**
 * Prefixes of credentials with a well-known form, by any issuer. Every repetition is bounded, so matching takes linear
 * time.
 */
const MARK =
  /\b(?:gh[pousr]_|github_pat_|rhone_|[sr]k_(?:live|test)_|FlyV1 |eyJ|[Bb][Ee][Aa][Rr][Ee][Rr] |[Bb][Aa][Ss][Ii][Cc] )|:\/\/|x-access-token:/g

const USER = /[^\s/:@]{0,256}/y

/** The credentials of a well-known form in a text, in order. */
export function credentialsIn(text: string): Span[] {
  const found: Span[] = []
  const reader = new CredentialReader(text)
  MARK.lastIndex = 0
  for (let mark = MARK.exec(text); mark !== null; mark = MARK.exec(text)) {
    const span = reader.read(mark[0], mark.index)
    if (span !== undefined) found.push(span)
  }
  return found
}

/**
 * Reads the credential after a prefix. The end of each run of characters is found only once, however many prefixes are
 * in the run.
 */
class CredentialReader {
  readonly #text: string
  readonly #word: Run
  readonly #visible: Run
  readonly #header: Run
  readonly #password: Run
  readonly #inUrl: Run
  readonly #jwtHead: Run
  readonly #jwtBody: Run
  readonly #jwtTail: Run

  constructor(text: string) {
    this.#text = text
    this.#word = new Run(text, /\w*/y)
    this.#visible = new Run(text, /\S*/y)
    this.#header = new Run(text, /[\w.~+/=-]*/y)
    this.#password = new Run(text, /[^\s/@]*/y)
    this.#inUrl = new Run(text, /[^\s@]*/y)
    this.#jwtHead = new Run(text, /[\w-]*/y)
    this.#jwtBody = new Run(text, /[\w-]*/y)
    this.#jwtTail = new Run(text, /[\w-]*/y)
  }

  read(mark: string, start: number): Span | undefined {
    const from = start + mark.length
    switch (mark) {
      case 'eyJ':
        return this.#jwt(start, from)
      case '://':
        return this.#passwordIn(from)
      case 'x-access-token:':
        return span(from, from, this.#inUrl.endFrom(from), 1)
      case 'FlyV1 ':
        return span(start, from, this.#visible.endFrom(from), 8)
    }
    if (mark.endsWith(' ')) return span(from, from, this.#header.endFrom(from), 8)
    const shortest = /^[sr]k_/.test(mark) ? 8 : 16
    return span(start, from, this.#word.endFrom(from), shortest)
  }

  /** Three parts separated by dots; the last may be empty. */
  #jwt(start: number, from: number): Span | undefined {
    const head = this.#jwtHead.endFrom(from)
    if (head - from < 8 || this.#text[head] !== '.') return undefined
    const body = this.#jwtBody.endFrom(head + 1)
    if (body - head - 1 < 8 || this.#text[body] !== '.') return undefined
    return { start, end: this.#jwtTail.endFrom(body + 1) }
  }

  #passwordIn(from: number): Span | undefined {
    USER.lastIndex = from
    USER.test(this.#text)
    const user = USER.lastIndex
    if (this.#text[user] !== ':') return undefined
    const end = this.#password.endFrom(user + 1)
    return this.#text[end] === '@' ? span(user + 1, user + 1, end, 1) : undefined
  }
}

/** @param shortest the least length of the part from `from` on */
function span(start: number, from: number, end: number, shortest: number): Span | undefined {
  return end - from >= shortest ? { start, end } : undefined
}

/** Finds the end of runs of one character class, and remembers the last one. */
class Run {
  readonly #text: string
  readonly #form: RegExp
  #from = 0
  #end = -1

  /** @param form sticky; one character class, repeated any number of times */
  constructor(text: string, form: RegExp) {
    this.#text = text
    this.#form = form
  }

  endFrom(from: number): number {
    if (from >= this.#from && from <= this.#end) return this.#end
    this.#form.lastIndex = from
    this.#form.test(this.#text)
    this.#from = from
    this.#end = this.#form.lastIndex
    return this.#end
  }
}
