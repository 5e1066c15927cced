import type { FastifyInstance } from 'fastify'
import { CACHES, type CacheName } from '../../src/domain/base/caches.ts'

/** The same lookup, cached according to its row in `CACHES`, if the server has a cache. */
export function cached<Value>(
  app: FastifyInstance,
  name: CacheName,
  load: (key: string) => Promise<Value>
): (key: string) => Promise<Value> {
  if (!app.hasDecorator('cache')) return load
  const { warm, ...settings } = CACHES[name]
  const cache = app.cache.of<Value>(name, settings)
  cache.warm(warm, load)
  return key => cache.get(key, () => load(key))
}
