/** @returns takes one of so many per minute; false when none is left */
export function minuteBudget(perMinute: number): () => boolean {
  let windowEnds = 0
  let left = 0
  return () => {
    const now = performance.now()
    if (now >= windowEnds) {
      windowEnds = now + 60_000
      left = perMinute
    }
    return left-- > 0
  }
}
