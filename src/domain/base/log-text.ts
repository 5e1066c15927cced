/**
 * What a terminal would interpret rather than show: CSI and OSC sequences, other escapes, control characters except tab
 * and line feed, and bidirectional marks, which can make a line display something other than its content.
 */
const CONTROLS =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
  /\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]P^_X][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[ -/]*[0-~]|[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/g

/** The beginning of a sequence that the next part of the text may continue. */
const UNFINISHED =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
  /(?:\x1b(?:\[[0-?]*[ -/]*|[\]P^_X][^\x07\x1b]*\x1b?|[ -/]*)?|\r|[\uD800-\uDBFF])$/

/** The longest incomplete sequence that is held back. Anything longer is text after a stray escape. */
const LONGEST_SEQUENCE = 256

/** A program's output as plain text that is safe for PostgreSQL, terminals and pages. */
export function plainText(written: string): string {
  return written.replaceAll(/\r\n?/g, '\n').replaceAll(CONTROLS, '').toWellFormed()
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: it is what is looked for
const COLOUR = /^\x1b\[[0-9;]{0,40}m$/

/** The same with its colours kept, for pages; everything else gets its `plainText`. */
export function colouredText(written: string): string {
  const kept = (sequence: string) => (COLOUR.test(sequence) ? sequence : '')
  return written.replaceAll(/\r\n?/g, '\n').replaceAll(CONTROLS, kept).toWellFormed()
}

/** Cuts coloured text like {@link cutText}, and never within a colour sequence. */
export function cutColoured(text: string, longest: number): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: it is what is looked for
  return cutText(text, longest).replace(/\x1b(?:\[[0-9;]{0,40})?$/, '')
}

/** The same for text that arrives in parts, cut anywhere. */
export class PlainTextDecoder {
  #rest = ''

  decode(part: string): string {
    const text = this.#rest + part
    const at = unfinishedFrom(text)
    this.#rest = text.slice(at)
    return plainText(text.slice(0, at))
  }

  /** The rest, once no more text follows. */
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

/** Cuts text to at most `longest` UTF-16 units, at the end of a word if one is near enough, and appends "…". */
export function cutAtWord(text: string, longest: number): string {
  if (text.length <= longest) return text
  const cut = cutText(text, longest - 1)
  const end = cut.lastIndexOf(' ')
  return `${end > longest / 2 ? cut.slice(0, end) : cut}…`
}

/** Cuts text to at most `longest` UTF-16 units, without splitting a character. */
export function cutText(text: string, longest: number): string {
  if (text.length <= longest) return text
  return text.slice(0, longest).replace(/[\uD800-\uDBFF]$/, '')
}
