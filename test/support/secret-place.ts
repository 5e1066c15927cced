import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises'
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

/** A volume like those of Kubernetes: files are links through `..data`, which is swapped. */
export async function volume(t: TestContext, secrets: Record<string, string>) {
  const path = await mkdtemp(join(tmpdir(), 'rhone-secrets-'))
  t.after(() => rm(path, { recursive: true, force: true }))
  let generation = 0
  async function swap(next: Record<string, string>): Promise<void> {
    const folder = `..generation_${++generation}`
    await mkdir(join(path, folder))
    for (const [name, value] of Object.entries(next)) await writeFile(join(path, folder, name), `${value}\n`)
    await symlink(folder, join(path, '..data_tmp'))
    await rename(join(path, '..data_tmp'), join(path, '..data'))
  }
  await swap(secrets)
  for (const name of Object.keys(secrets)) await symlink(join('..data', name), join(path, name))
  return { path, swap }
}

/** The shipped server with its secrets in a directory. */
export function server(t: TestContext, { path }: Pick<Place, 'path'>, variables: Variables = {}) {
  return serverOf(t, { SECRETS_SOURCE: `dir:${path}`, ...variables })
}

/** The shipped server, without load shedding: a busy machine would make it refuse requests of the test. */
export async function serverOf(t: TestContext, variables: Variables) {
  const dataDir = await mkdtemp(join(tmpdir(), 'rhone-'))
  t.after(() => rm(dataDir, { recursive: true, force: true }))
  const environment = { DATA_DIR: dataDir, LOG_LEVEL: 'silent', RHONE_SWAP: 'pressure=off', ...variables }
  const { config, feed } = await openSettings(() => environment)
  const live = liveConfig(config)
  const app = await buildApp(live.config, {}, undefined, { secrets: { feed, live } })
  t.after(() => app.close())
  await app.ready()
  await app.startup.completed
  return { app, live, environment }
}
