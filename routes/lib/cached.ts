import type { FastifyInstance } from 'fastify'

interface Settings {
  /** Milliseconds for which a value is valid. */
  ttl: number
  /** Maximum number of values. */
  max: number
  /** Milliseconds beyond `ttl` for which a value is still served if loading a new one fails. */
  staleIfError?: number
}

/** The same look-up, cached if the server has a cache. */
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
