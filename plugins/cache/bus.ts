/** Carries invalidations to the caches of all other instances. Without a bus, those keep values until they expire. */
export interface CacheBus {
  /** @param key undefined for all keys */
  publish(cache: string, key: string | undefined): Promise<void>
  /** @param onGap called when invalidations may have been missed */
  subscribe(
    onInvalidated: (cache: string, key: string | undefined) => void,
    onGap: () => void
  ): Promise<() => Promise<void>>
}
