import type { FastifyInstance } from 'fastify'

interface Settings {
  /** Milliseconds that a value is good for. */
  ttl: number
  /** Values held at most. */
  max: number
  /** Milliseconds past `ttl` for which a value is still given when a new one cannot be loaded. */
  staleIfError?: number
}

/** The same look-up, from the cache where there is one. */
export function cached<Value>(
  app: FastifyInstance,
  name: string,
  settings: Settings,
  load: (key: string) => Promise<Value>
): (key: string) => Promise<Value> {
  if (!app.hasDecorator('cache')) return load
  const cache = app.cache.of<Value>(name, settings)
  return key => cache.get(key, () => load(key))
}
