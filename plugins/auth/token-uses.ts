import type { FastifyInstance, FastifyRequest } from 'fastify'
import { peerOf } from '../lib/address.ts'

/** The use of one token from one place. */
export interface TokenUse {
  readonly tokenId: string
  readonly address: string
  /** What counts as one place: the IPv4 address, or the network of an IPv6 address. */
  readonly bucket: string
}

/** Records the tokens used since the last call. */
export type RecordTokenUses = (uses: readonly TokenUse[]) => Promise<void>

/** Marks a token as used. */
type Mark = (tokenId: string, request: FastifyRequest) => void

/** Maximum number of uses kept between two reports; further ones are not recorded. */
const MOST_USES = 10_000

/** Collects token uses and reports them periodically, outside of any request. */
export function batchUses(app: FastifyInstance, interval: number, touch: RecordTokenUses = async () => {}): Mark {
  const used = new Map<string, Map<string, TokenUse>>()
  let count = 0

  async function flush(): Promise<void> {
    if (count === 0) return
    const uses = [...used.values()].flatMap(places => [...places.values()])
    used.clear()
    count = 0
    try {
      await touch(uses)
    } catch (error) {
      app.log.warn({ err: error, tokens: uses.length }, 'the last use of some tokens could not be recorded')
    }
  }

  const timer = setInterval(flush, interval).unref()
  app.addHook('onClose', async () => {
    clearInterval(timer)
    await flush()
  })

  return (tokenId, request) => {
    const { address, bucket } = request.clientIp ?? peerOf(request.raw.socket)
    const places = used.get(tokenId) ?? new Map<string, TokenUse>()
    if (places.has(bucket) || count >= MOST_USES) return
    used.set(tokenId, places.set(bucket, { tokenId, address, bucket }))
    count++
  }
}
