/**
 * A quantile of a histogram, as Prometheus computes it: linear within a bucket, and the highest finite bound beyond.
 *
 * @param buckets cumulative counts by upper bound
 * @returns null when nothing was counted
 */
export function quantileOf(buckets: readonly (readonly [bound: number, count: number])[], q: number): number | null {
  const sorted = buckets.toSorted(([a], [b]) => a - b)
  const total = sorted.at(-1)?.[1] ?? 0
  if (!(total > 0)) return null
  const rank = q * total
  const index = sorted.findIndex(([, count]) => count >= rank)
  const [bound, count] = sorted[index]!
  const [lower, below] = sorted[index - 1] ?? [0, 0]
  if (!Number.isFinite(bound)) return lower
  return lower + (bound - lower) * ((rank - below) / (count - below || 1))
}

export const boundOf = (le = ''): number => (le === '+Inf' ? Number.POSITIVE_INFINITY : Number(le))
