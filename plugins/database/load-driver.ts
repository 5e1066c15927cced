import { loadPackages } from '../lib/packages.ts'

/** What speaks to PostgreSQL, loaded when an app has one. */
export async function loadDriver() {
  const load = () =>
    Promise.all([import('./client.ts'), import('./listener.ts'), import('./pool.ts'), import('./reachability.ts')])
  const modules = await loadPackages('rhone-database', ['drizzle-orm', 'postgres'], load)
  const [{ createDb }, { Listener }, { Pool }, { Reachability }] = modules
  return { createDb, Listener, Pool, Reachability }
}
