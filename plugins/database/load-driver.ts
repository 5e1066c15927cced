import { loadPackages } from '../lib/packages.ts'

/** Loads the code that only apps with several database hosts or a replica need. */
export async function loadHosts() {
  const [{ ADMISSION_COLUMNS, Hosts, memoryFence }, { openReplica }] = await Promise.all([
    import('./hosts.ts'),
    import('./replica.ts')
  ])
  return { ADMISSION_COLUMNS, Hosts, memoryFence, openReplica }
}

/** Loads the PostgreSQL driver, only for apps that have a database. */
export async function loadDriver() {
  const load = () =>
    Promise.all([
      import('./availability.ts'),
      import('./client.ts'),
      import('./listener.ts'),
      import('./pool.ts'),
      import('./quick-check.ts')
    ])
  const modules = await loadPackages('rhone-database', ['drizzle-orm', 'postgres'], load)
  const [{ Availability }, { createDb }, { Listener }, { Pool }, { checkShortcuts }] = modules
  return { Availability, checkShortcuts, createDb, Listener, Pool }
}
