/**
 * Takes one unit from a key's budget per minute, and from the budget of all keys together.
 *
 * @returns false when either is exhausted
 */
export function minuteBudget(perKey: number, inAll: number): (key: string) => boolean {
  /** Units taken per key in the current minute; at most `inAll` keys. */
  const taken = new Map<string, number>()
  let windowEnds = 0
  let left = 0
  return key => {
    const now = performance.now()
    if (now >= windowEnds) {
      windowEnds = now + 60_000
      left = inAll
      taken.clear()
    }
    const before = taken.get(key) ?? 0
    if (left === 0 || before >= perKey) return false
    left -= 1
    taken.set(key, before + 1)
    return true
  }
}
