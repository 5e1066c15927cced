import { stripVTControlCharacters } from 'node:util'

/** Characters that take two columns of a terminal: East Asian ones, and emoji. */
const WIDE =
  /^(?:[\u1100-\u115F\u2E80-\u303E\u3041-\uA4CF\uA960-\uA97C\uAC00-\uD7A3\uF900-\uFAFF\uFE30-\uFE6F\uFF01-\uFF60\uFFE0-\uFFE6\u{1B000}-\u{1B2FF}\u{20000}-\u{3FFFD}]|\p{Emoji_Presentation}|\p{Extended_Pictographic}\uFE0F)/u
const INVISIBLE = /^[\p{Mn}\p{Me}\p{Cf}\p{Cc}]+$/u
const NARROW = /^[\x20-\x7E]*$/

const segmenter = new Intl.Segmenter('en', { granularity: 'grapheme' })

const columnsOf = (grapheme: string) => (INVISIBLE.test(grapheme) ? 0 : WIDE.test(grapheme) ? 2 : 1)

/** The columns that a text takes in a terminal, colours aside. */
export function widthOf(text: string): number {
  const shown = stripVTControlCharacters(text)
  if (NARROW.test(shown)) return shown.length
  let width = 0
  for (const { segment } of segmenter.segment(shown)) width += columnsOf(segment)
  return width
}

/** Pads the text with spaces up to a width. */
export function padTo(text: string, width: number): string {
  return text + ' '.repeat(Math.max(0, width - widthOf(text)))
}

/** The text if it fits, otherwise its beginning and an ellipsis. Not for coloured text. */
export function ellipsized(text: string, width: number): string {
  if (widthOf(text) <= width) return text
  let shown = ''
  let left = width - 1
  for (const { segment } of segmenter.segment(text)) {
    left -= columnsOf(segment)
    if (left < 0) break
    shown += segment
  }
  return `${shown}…`
}
