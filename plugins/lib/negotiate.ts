export type ErrorFormat = 'json' | 'problem' | 'page'

/** Browsers send some 150 characters. What a client may send at most would take milliseconds to read, at every refusal. */
const MAX_LENGTH = 1_000

/**
 * The format that a client gets its errors in. JSON, unless it names RFC 9457's type or, where there may be a page,
 * HTML with at least the same preference: wildcards are what programs send.
 */
export function negotiate(accept: string | undefined, mayBePage: boolean): ErrorFormat {
  if (accept === undefined || accept === '*/*' || accept === 'application/json') return 'json'
  if (accept.length > MAX_LENGTH) return 'json'
  const json = preference(accept, 'application/json')
  if (mayBePage && preference(accept, 'text/html') > json) return 'page'
  const problem = preference(accept, 'application/problem+json')
  return problem > 0 && problem >= json ? 'problem' : 'json'
}

/** The weight of a media type that an Accept header names itself; 0 when it does not. */
function preference(accept: string, type: string): number {
  for (const range of accept.split(',')) {
    const [name = '', ...parameters] = range.split(';')
    if (name.trim().toLowerCase() !== type) continue
    const weight = parameters.map(parameter => parameter.trim()).find(parameter => parameter.startsWith('q='))
    return weight === undefined ? 1 : Number(weight.slice(2)) || 0
  }
  return 0
}
