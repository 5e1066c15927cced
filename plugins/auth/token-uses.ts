import type { FastifyInstance } from 'fastify'

/** Takes note of the tokens that were used since the last call. */
export type Touch = (tokenIds: readonly string[]) => Promise<void>

/** Marks a token as used. */
type Mark = (tokenId: string) => void

/** Collects the ids of tokens in use and reports them every now and then, outside of any request. */
export function batchUses(app: FastifyInstance, interval: number, touch: Touch = async () => {}): Mark {
  const used = new Set<string>()

  async function flush(): Promise<void> {
    if (used.size === 0) return
    const ids = [...used]
    used.clear()
    try {
      await touch(ids)
    } catch (error) {
      app.log.warn({ err: error, tokens: ids.length }, 'the last use of some tokens could not be recorded')
    }
  }

  const timer = setInterval(flush, interval).unref()
  app.addHook('onClose', async () => {
    clearInterval(timer)
    await flush()
  })
  return tokenId => used.add(tokenId)
}
