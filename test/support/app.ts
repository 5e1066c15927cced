import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import type { FastifyInstance, InjectOptions, LightMyRequestResponse } from 'fastify'
import { buildApp, type Swaps } from '../../src/app.ts'
import { type Config, loadConfig, type Variables } from '../../src/config/index.ts'
import { generateKey, parseKeyring } from '../../src/config/keyring.ts'
import { freshDatabase } from './database.ts'

export interface TestApp {
  readonly app: FastifyInstance
  readonly config: Config
  /** The first operator's API token, with every scope. */
  readonly token: string
  /** A request with that token; a body is sent as JSON. */
  readonly as: (
    token: string | null,
    method: string,
    url: string,
    body?: unknown,
    headers?: Record<string, string>
  ) => Promise<LightMyRequestResponse>
}

/** A configuration from literal variables with its own directory; nothing is read from the environment. */
export async function testConfig(t: TestContext, variables: Variables = {}): Promise<Config> {
  const dataDir = await mkdtemp(join(tmpdir(), 'rhone-'))
  t.after(() => rm(dataDir, { recursive: true, force: true }))
  const config = loadConfig({
    DATA_DIR: dataDir,
    LOG_LEVEL: 'silent',
    BACKUP_SCHEDULE: 'off',
    BACKUP_DRILL_SCHEDULE: 'off',
    ...variables
  })
  const key = () => parseKeyring(generateKey())
  const { session, encryption, signing } = config.keys
  return { ...config, keys: { session: session ?? key(), encryption: encryption ?? key(), signing: signing ?? key() } }
}

/**
 * The shipped server with its own database and the first operator; closed after the test. Load shedding is off by
 * default, because a busy machine would make it refuse requests of the test.
 */
export async function testApp(t: TestContext, variables: Variables = {}, swaps: Swaps = {}): Promise<TestApp> {
  const url = variables.DATABASE_URL ?? (await freshDatabase(t))
  const config = await testConfig(t, { DATABASE_URL: url, ...variables })
  const app = await buildApp({ ...config, swaps: { pressure: false, ...config.swaps } }, swaps)
  t.after(() => app.close())
  await app.ready()
  await app.startup.completed
  const token = await readFile(join(config.dataDir, 'operator-token'), 'utf8').then(text => text.trim())
  return { app, config, token, as: (...request) => call(app, ...request) }
}

function call(
  app: FastifyInstance,
  token: string | null,
  method: string,
  url: string,
  body?: unknown,
  headers: Record<string, string> = {}
): Promise<LightMyRequestResponse> {
  return app.inject({
    method: method as NonNullable<InjectOptions['method']>,
    url,
    headers: { ...(token && { authorization: `Bearer ${token}` }), ...headers },
    ...(body !== undefined && { payload: body as NonNullable<InjectOptions['payload']> })
  })
}
