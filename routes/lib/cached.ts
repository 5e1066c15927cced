import type { FastifyInstance } from 'fastify'

/** The same look-up, from the cache where there is one. */
export function cached<Value>(
  app: FastifyInstance,
  name: string,
  settings: { ttl: number; staleIfError?: number },
  load: () => Promise<Value>
): () => Promise<Value> {
  if (!app.hasDecorator('cache')) return load
  const cache = app.cache.of<Value>(name, { ...settings, max: 1 })
  return () => cache.get('all', load)
}
