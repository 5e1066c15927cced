import type { Config } from '../config/index.ts'
import { generateKey, parseKeyring } from '../config/keyring.ts'
import { defineCommand } from './command.ts'

export const openapi = defineCommand({
  name: 'openapi',
  summary: 'Print the OpenAPI 3.1 description of the API as JSON. No database is needed.',
  printsData: true,
  async run({ config }) {
    const { buildApp } = await import('../app.ts')
    const app = await buildApp(withoutServices(await config()))
    try {
      await app.ready()
      const document = app.swagger()
      return { data: document, text: JSON.stringify(document, null, 2) }
    } finally {
      await app.close()
    }
  }
})

/** Removes external services: the API description must not depend on a reachable database. */
function withoutServices(config: Config): Config {
  const nowhere = 'postgres://none:none@127.0.0.1:1/none'
  const key = () => parseKeyring(generateKey())
  return {
    ...config,
    logLevel: 'silent',
    redisUrl: null,
    database: { ...config.database, url: nowhere, directUrl: nowhere },
    keys: { session: key(), encryption: key(), signing: key() }
  }
}
