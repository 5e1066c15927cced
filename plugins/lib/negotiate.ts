export type ErrorFormat = 'json' | 'problem' | 'page'

/** Browsers send about 150 characters. A header of maximum size would take milliseconds to parse on every refusal. */
const MAX_LENGTH = 1_000

/**
 * The format of a client's errors: JSON, unless the client names RFC 9457's type or, where a page is possible, HTML
 * with at least the same preference. Wildcards do not count, because programs send those.
 */
export function negotiate(accept: string | undefined, mayBePage: boolean): ErrorFormat {
  if (accept === undefined || accept === '*/*' || accept === 'application/json') return 'json'
  const json = weightOf(accept, 'application/json')
  if (mayBePage && weightOf(accept, 'text/html') > json) return 'page'
  const problem = weightOf(accept, 'application/problem+json')
  return problem > 0 && problem >= json ? 'problem' : 'json'
}

/** The media type with the highest weight; the first one on a tie or if the client names none. */
export function preferred<const Types extends readonly [string, ...string[]]>(
  accept: string | undefined,
  types: Types
): Types[number] {
  const weights = types.map(type => weightOf(accept ?? '', type))
  return types[weights.indexOf(Math.max(...weights))]!
}

/** The weight of a media type that an Accept header names explicitly; 0 otherwise, or if the header is too long. */
function weightOf(accept: string, type: string): number {
  if (accept.length > MAX_LENGTH) return 0
  for (const range of accept.split(',')) {
    const [name = '', ...parameters] = range.split(';').map(part => part.trim().toLowerCase())
    if (name !== type) continue
    const weight = parameters.find(parameter => parameter.startsWith('q='))
    return weight === undefined ? 1 : Number(weight.slice(2)) || 0
  }
  return 0
}
