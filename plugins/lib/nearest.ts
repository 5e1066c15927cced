/** Longer words are not compared: the cost is quadratic in the length, and such words are hardly ever typed by hand. */
const LONGEST = 64

/**
 * The most likely intended candidate for a mistyped word: one that differs only in case or separators, or in a few
 * letters that are wrong, missing, added or swapped with their neighbour.
 *
 * @param share the fraction of letters that may be wrong; one is always allowed
 */
export function nearest(word: string, candidates: Iterable<string>, share = 1 / 3): string | undefined {
  if (word.length > LONGEST) return undefined
  const meant = bare(word)
  let best: string | undefined
  let fewest = Math.max(1, Math.floor(meant.length * share)) + 1
  for (const candidate of candidates) {
    if (candidate.length > LONGEST) continue
    const edits = distance(meant, bare(candidate))
    if (edits >= fewest) continue
    fewest = edits
    best = candidate
  }
  return best
}

const bare = (word: string): string => word.toLowerCase().replaceAll(/[-_ ]/g, '')

/** Damerau's distance: the number of letters to change, add, drop or swap with the next one. */
function distance(from: string, to: string): number {
  let beforeLast: number[] = []
  let last = Array.from({ length: to.length + 1 }, (_, column) => column)
  for (let row = 1; row <= from.length; row++) {
    const current = [row]
    for (let column = 1; column <= to.length; column++) {
      const isSame = from[row - 1] === to[column - 1]
      const isSwapped = row > 1 && column > 1 && from[row - 1] === to[column - 2] && from[row - 2] === to[column - 1]
      current[column] = Math.min(
        last[column]! + 1,
        current[column - 1]! + 1,
        last[column - 1]! + (isSame ? 0 : 1),
        isSwapped ? beforeLast[column - 2]! + 1 : Number.POSITIVE_INFINITY
      )
    }
    beforeLast = last
    last = current
  }
  return last[to.length]!
}
