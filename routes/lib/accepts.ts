/** Which of these media types a client prefers; the first, unless its Accept header names another one with more weight. */
export function preferred<const Types extends readonly [string, ...string[]]>(
  accept: string | undefined,
  types: Types
): Types[number] {
  if (accept === undefined || accept.length > 1_000) return types[0]
  const weights = types.map(type => weightOf(accept, type))
  return types[weights.indexOf(Math.max(...weights))]!
}

/** 0 for one that is not named. */
function weightOf(accept: string, type: string): number {
  for (const range of accept.split(',')) {
    const [name = '', ...parameters] = range.split(';').map(part => part.trim().toLowerCase())
    if (name !== type) continue
    const weight = parameters.find(parameter => parameter.startsWith('q='))
    return weight === undefined ? 1 : Number(weight.slice(2)) || 0
  }
  return 0
}
