/**
 * What a terminal would act on instead of showing it: CSI and OSC sequences, other escapes, control characters but tab and
 * line feed, and what turns the direction of text around, by which a line can show something else than it says.
 */
const CONTROLS =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
  /\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]P^_X][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[ -/]*[0-~]|[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/g

/** The beginning of one that may go on with the next part of the text. */
const UNFINISHED =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
  /(?:\x1b(?:\[[0-?]*[ -/]*|[\]P^_X][^\x07\x1b]*\x1b?|[ -/]*)?|\r|[\uD800-\uDBFF])$/

/** How much of a sequence is waited for; longer ones are none, but text behind a stray escape. */
const LONGEST_SEQUENCE = 256

/** Plain text of what a program has written: what PostgreSQL, terminals and pages take without acting on it. */
export function plainText(written: string): string {
  return written.replaceAll(/\r\n?/g, '\n').replaceAll(CONTROLS, '').toWellFormed()
}

/** The same for text that comes in parts, cut anywhere. */
export class PlainTextDecoder {
  #rest = ''

  decode(part: string): string {
    const text = this.#rest + part
    const at = unfinishedFrom(text)
    this.#rest = text.slice(at)
    return plainText(text.slice(0, at))
  }

  /** What is left when nothing more comes. */
  end(): string {
    const rest = this.#rest
    this.#rest = ''
    return plainText(rest)
  }
}

function unfinishedFrom(text: string): number {
  const from = Math.max(0, text.length - LONGEST_SEQUENCE)
  const at = text.slice(from).search(UNFINISHED)
  return at === -1 ? text.length : from + at
}

/** Cuts text to so many UTF-16 units at most, at the end of a word where there is one near enough, and says so by "…". */
export function cutAtWord(text: string, longest: number): string {
  if (text.length <= longest) return text
  const cut = cutText(text, longest - 1)
  const end = cut.lastIndexOf(' ')
  return `${end > longest / 2 ? cut.slice(0, end) : cut}…`
}

/** Cuts text to so many UTF-16 units at most, without cutting a character in two. */
export function cutText(text: string, longest: number): string {
  if (text.length <= longest) return text
  return text.slice(0, longest).replace(/[\uD800-\uDBFF]$/, '')
}
