/**
 * Takes one of so many per minute for a key, and of so many for all keys together.
 *
 * @returns false when none is left
 */
export function minuteBudget(perKey: number, inAll: number): (key: string) => boolean {
  /** What each key has taken in this minute; no more keys than `inAll`. */
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
