import { LRUCache } from 'lru-cache'

/**
 * A cache of at most `max` entries that drops the least recently used one, and whose memory grows as it fills. With the
 * option `max`, `LRUCache` allocates for all entries at once: half a megabyte for 10,000.
 *
 * @param ttl milliseconds that an entry lives; forever if absent
 */
export function growingLru<K extends {}, V extends {}>(max: number, ttl?: number): LRUCache<K, V> {
  return new LRUCache<K, V>({ maxSize: max, sizeCalculation: () => 1, ...(ttl !== undefined && { ttl }) })
}
