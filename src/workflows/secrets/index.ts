import { randomUUID } from 'node:crypto'
import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import {
  countHolders,
  HOLDERS_CHANNEL,
  type Holdings,
  publishHoldings,
  readHoldings,
  withdrawHoldings
} from '../../domain/secrets/holders.ts'

export interface SecretHoldersOptions {
  /** The secrets that this instance holds now. */
  readonly holdings: () => Holdings
  /** Called after each exchange, to choose the keys that seal and sign. */
  readonly onAgreement: (isHeldByAll: (name: string, print: string) => boolean) => void
}

declare module 'fastify' {
  interface FastifyInstance {
    secretHolders: {
      /** Publishes this instance's secrets, and reads those of the others. */
      exchange(): Promise<void>
      /** Set while this instance's keys differ from the others', so that it must not serve. */
      isRefused: boolean
    }
  }
}

/**
 * Makes instances agree on keys. Each publishes the keys that it holds, and seals and signs with a new one only when
 * all running instances hold it. Acknowledgement decides, not time, so that a lagging instance can read what the others
 * write.
 */
const secretHoldersPlugin: FastifyPluginAsync<SecretHoldersOptions> = async (app, { holdings, onAgreement }) => {
  const instance = randomUUID()
  let published = ''
  let isListening = false

  async function exchange(): Promise<void> {
    if (!isListening) {
      isListening = true
      await app.postgres.listen(HOLDERS_CHANNEL, agree, () => {})
    }
    const holds = holdings()
    const text = JSON.stringify(holds)
    await publishHoldings(app.db, instance, holds, text !== published)
    published = text
    await agree()
  }

  async function agree(): Promise<void> {
    const all = await readHoldings(app.db)
    onAgreement((name, print) => countHolders(all, name, [print]) === all.length)
  }

  app.decorate('secretHolders', { exchange, isRefused: false })
  app.addHook('onClose', async () => {
    // Without a database, the row is ignored once it is old.
    if (published !== '') await withdrawHoldings(app.db, instance).catch(() => {})
  })
}

export default fp(secretHoldersPlugin, { name: 'rhone-secret-holders', fastify: '5.x' })
