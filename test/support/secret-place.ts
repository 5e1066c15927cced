import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { buildApp } from '../../src/app.ts'
import { openSettings, type Variables } from '../../src/config/index.ts'
import { generateKey } from '../../src/config/keyring.ts'
import { liveConfig } from '../../src/config/live.ts'

export const keyOf = (id: string) => `${id}:${generateKey().split(':')[1]}`
export const OLD = keyOf('old')

export interface Place {
  readonly path: string
  write(values: Record<string, string>): Promise<void>
}

/** A directory of secrets that a test changes. */
export async function place(t: TestContext, values: Record<string, string>): Promise<Place> {
  const path = await mkdtemp(join(tmpdir(), 'rhone-secrets-'))
  t.after(() => rm(path, { recursive: true, force: true }))
  async function write(next: Record<string, string>): Promise<void> {
    for (const [name, value] of Object.entries(next)) {
      await writeFile(join(path, `.${name}`), value)
      await rename(join(path, `.${name}`), join(path, name))
    }
  }
  await write({ ENCRYPTION_KEYS: OLD, SESSION_KEYS: OLD, SIGNING_KEYS: OLD, ...values })
  return { path, write }
}

/** The server that ships, with its secrets in a directory. */
export async function server(t: TestContext, { path }: Place, variables: Variables = {}) {
  const dataDir = await mkdtemp(join(tmpdir(), 'rhone-'))
  t.after(() => rm(dataDir, { recursive: true, force: true }))
  const environment = { DATA_DIR: dataDir, LOG_LEVEL: 'silent', SECRETS_SOURCE: `dir:${path}`, ...variables }
  const { config, feed } = await openSettings(() => environment)
  const live = liveConfig(config)
  const app = await buildApp(live.config, {}, undefined, { secrets: { feed, live } })
  t.after(() => app.close())
  await app.ready()
  await app.startup.completed
  return { app, live, environment }
}
