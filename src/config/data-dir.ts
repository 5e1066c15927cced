import { mkdir } from 'node:fs/promises'

/**
 * Creates the directory for local state. Secret files in it have their own mode. When root owns the directory, others
 * can enter but not list it, because PostgreSQL runs under another account and must reach its part.
 */
export async function createDataDir(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: process.geteuid?.() === 0 ? 0o711 : 0o700 })
}
