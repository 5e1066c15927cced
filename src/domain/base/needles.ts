/** Shorter values occur in every text; masking them would hide the text rather than the value. */
export const SHORTEST = 4
const SHORTEST_LINE = 8
const SHORTEST_ENCODED = 6
/** Longer values are searched for as they are, not in their encodings. */
const LONGEST_ENCODED = 4_096
/** Longer values are searched for in pieces, so that little text has to be held back. */
const PIECE = 256
/** UTF-16 units that are searched for at most; shorter values take precedence. */
const MOST_PLAIN = 524_288
const MOST_ENCODED = 65_536

/** A common word: masking it inside other words would hide those. */
const PLAIN_WORD = /^(?:[A-Za-z]{4,15}|\d{4,15})$/

/** The values that are masked only where they stand alone; {@link needlesOf} leaves them out. */
export function plainWordsOf(secrets: readonly string[]): string[] {
  return secrets.map(secret => secret.trim()).filter(secret => PLAIN_WORD.test(secret))
}

/**
 * Every string that reveals a secret, wherever it occurs: the secret, its lines, and both as programs print and encode
 * them.
 */
export function needlesOf(secrets: readonly string[]): string[] {
  const values = secrets.flatMap(secret => [secret, secret.trim()])
  const lines = secrets.flatMap(linesOf)
  const encoded = [...values, ...lines].filter(isEncoded).flatMap(encodingsOf)
  return [...new Set([...withinBudget([...values, ...lines], MOST_PLAIN), ...withinBudget(encoded, MOST_ENCODED)])]
}

function withinBudget(values: readonly string[], most: number): string[] {
  let room = most
  return [...new Set(values)]
    .filter(value => !PLAIN_WORD.test(value))
    .sort((a, b) => a.length - b.length)
    .filter(({ length }) => {
      room -= length
      return room >= 0
    })
    .flatMap(piecesOf)
    .filter(({ length }) => length >= SHORTEST)
}

const isEncoded = ({ length }: string) => length >= SHORTEST && length <= LONGEST_ENCODED

function linesOf(secret: string): string[] {
  if (!secret.includes('\n')) return []
  return secret
    .split('\n')
    .map(line => line.trim())
    .filter(({ length }) => length >= SHORTEST_LINE)
}

function encodingsOf(value: string): string[] {
  const url = encodeURIComponent(value)
  const form = new URLSearchParams([['', value]]).toString().slice(1)
  const lowerCase = (text: string) => text.replaceAll(/%[0-9A-F]{2}/g, code => code.toLowerCase())
  const text = [JSON.stringify(value).slice(1, -1), url, form, lowerCase(url), lowerCase(form)]
  return value.length < SHORTEST_ENCODED ? text : [...text, ...base64Of(value), Buffer.from(value).toString('hex')]
}

/** The base64 of a value at each of the three alignments, without the characters that depend on its neighbours. */
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
