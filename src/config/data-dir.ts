import { mkdir } from 'node:fs/promises'

/**
 * Creates the directory of local state. What is secret in it has a mode of its own; root's directory can be entered,
 * though not listed, since PostgreSQL runs under another account and must get to its part.
 */
export async function createDataDir(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: process.geteuid?.() === 0 ? 0o711 : 0o700 })
}
