export type ErrorFormat = 'json' | 'problem' | 'page'

/** Browsers send some 150 characters. What a client may send at most would take milliseconds to read, at every refusal. */
const MAX_LENGTH = 1_000

/**
 * The format that a client gets its errors in. JSON, unless it names RFC 9457's type or, where there may be a page,
 * HTML with at least the same preference: wildcards are what programs send.
 */
export function negotiate(accept: string | undefined, mayBePage: boolean): ErrorFormat {
  if (accept === undefined || accept === '*/*' || accept === 'application/json') return 'json'
  const json = weightOf(accept, 'application/json')
  if (mayBePage && weightOf(accept, 'text/html') > json) return 'page'
  const problem = weightOf(accept, 'application/problem+json')
  return problem > 0 && problem >= json ? 'problem' : 'json'
}

/** The media type that a client gives the most weight; the first of those with the same, or when none is named. */
export function preferred<const Types extends readonly [string, ...string[]]>(
  accept: string | undefined,
  types: Types
): Types[number] {
  const weights = types.map(type => weightOf(accept ?? '', type))
  return types[weights.indexOf(Math.max(...weights))]!
}

/** The weight of a media type that an Accept header names itself; 0 when it does not, or is too long to be read. */
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
