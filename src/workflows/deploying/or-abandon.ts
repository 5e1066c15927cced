/**
 * Settles like `work`. Work that does not end within `patience` milliseconds of the abort is abandoned, so that nothing
 * else waits for it.
 */
export async function orAbandon<T>(work: Promise<T>, signal: AbortSignal, patience: number): Promise<T> {
  const outOfPatience = Promise.withResolvers<never>()
  let timer: NodeJS.Timeout | undefined
  const begin = () => {
    timer = setTimeout(() => outOfPatience.reject(signal.reason), patience)
  }
  if (signal.aborted) begin()
  else signal.addEventListener('abort', begin, { once: true })
  try {
    return await Promise.race([work, outOfPatience.promise])
  } finally {
    signal.removeEventListener('abort', begin)
    clearTimeout(timer)
  }
}
