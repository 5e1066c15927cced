/** Carries invalidations to the caches of all other instances. Without one, they keep what they have until it is old. */
export interface CacheBus {
  /** @param key all keys when undefined */
  publish(cache: string, key: string | undefined): Promise<void>
  /** @param onGap invalidations may have been missed */
  subscribe(
    onInvalidated: (cache: string, key: string | undefined) => void,
    onGap: () => void
  ): Promise<() => Promise<void>>
}
