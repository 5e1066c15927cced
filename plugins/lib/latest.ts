/** A value, or a function that gives the latest: for secrets that are replaced while a server runs. */
export type Latest<T> = T | (() => T)

/** @returns the current value */
export function latest<T extends string | readonly string[]>(value: Latest<T>): T {
  return typeof value === 'function' ? value() : value
}

/** Computes a result from the latest value, and keeps it until that value changes. */
export function fromLatest<T, Result>(read: () => T, compute: (value: T) => Result): () => Result {
  let known: { value: T; result: Result } | undefined
  return () => {
    const value = read()
    if (known === undefined || known.value !== value) known = { value, result: compute(value) }
    return known.result
  }
}
