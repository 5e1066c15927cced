/**
 * What `work` comes to. Work that does not end within `patience` milliseconds of the signal is left behind, whatever it
 * does from then on: nobody else shall wait for it.
 */
export async function orLeaveBehind<T>(work: Promise<T>, signal: AbortSignal, patience: number): Promise<T> {
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
