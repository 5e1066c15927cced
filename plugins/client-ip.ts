import type { IncomingMessage } from 'node:http'
import type { BlockList } from 'node:net'
import { type Static, Type } from '@sinclair/typebox'
import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { type ClientIp, isWithin, parseAddress, parseHop, parseNetworks, peerOf, proxyNetworks } from './lib/address.ts'
import { type PluginInput, parseOptions } from './lib/options.ts'

export const ClientIpOptions = Type.Object(
  {
    trustProxy: Type.Union([Type.Literal('none'), Type.Literal('fly'), Type.Array(Type.String())], {
      default: 'none',
      description:
        'Which headers to trust for the client address. "none": none, the peer is the client. "fly": Fly-Client-IP from a ' +
        'private peer; only for machines that only fly-proxy can reach. A list of CIDRs: X-Forwarded-For from these ' +
        'peers, read from the right up to the first hop outside them.'
    })
  },
  { additionalProperties: false }
)
export type ClientIpOptions = Static<typeof ClientIpOptions>

declare module 'fastify' {
  interface FastifyRequest {
    /** The client's address: the single source for limits, logs and audit. */
    readonly clientIp: ClientIp
  }
}

/** How many header values are cached, and their maximum length: bounds on memory that a client can claim. */
const MEMO_ENTRIES = 1024
const MEMO_LENGTH = 128

type Resolve = (message: IncomingMessage) => ClientIp
/** Reads a header sent by a trusted peer; undefined when it contains nothing trustworthy. */
type ReadHeader = (value: string) => ClientIp | undefined

const clientIp: FastifyPluginAsync<PluginInput<typeof ClientIpOptions>> = async (app, input) => {
  const { trustProxy } = parseOptions('rhone-client-ip', ClientIpOptions, input)
  const resolve = resolver(trustProxy)
  app.decorateRequest('clientIp', {
    getter() {
      return resolve(this.raw)
    }
  })
}

function resolver(trustProxy: ClientIpOptions['trustProxy']): Resolve {
  if (trustProxy === 'none') return message => peerOf(message.socket)
  const proxies = trustedNetworks(proxyNetworks(trustProxy))
  if (trustProxy === 'fly') return behind(proxies, 'fly-client-ip', parseAddress)
  return behind(proxies, 'x-forwarded-for', chain => rightmostClient(chain, proxies))
}

function trustedNetworks(entries: readonly string[]): BlockList {
  try {
    return parseNetworks(entries)
  } catch (error) {
    throw new Error(`rhone-client-ip: option "trustProxy": ${(error as Error).message}`, { cause: error })
  }
}

/**
 * Trusts a header from peers inside certain networks; otherwise, or when the header says nothing, the peer is the
 * client.
 */
function behind(proxies: BlockList, header: string, read: ReadHeader): Resolve {
  const kTrusted = Symbol('rhone.trusted-peer')
  const remembered = new Map<string, ClientIp>()

  const recall: ReadHeader = value => {
    const known = remembered.get(value)
    if (known !== undefined) return known
    const client = read(value)
    if (client === undefined || value.length > MEMO_LENGTH) return client
    if (remembered.size === MEMO_ENTRIES) remembered.clear()
    remembered.set(value, client)
    return client
  }

  return message => {
    const peer = peerOf(message.socket)
    const socket = message.socket as typeof message.socket & { [kTrusted]?: boolean }
    socket[kTrusted] ??= isWithin(proxies, peer)
    // Node joins repeated fields with a comma, in wire order, so one string holds all hops.
    const value = message.headers[header]
    return socket[kTrusted] && typeof value === 'string' ? (recall(value) ?? peer) : peer
  }
}

/**
 * Every proxy appends the address of its caller, so each entry is as reliable as the proxy that wrote it: from the
 * right, the first hop that is not one of our proxies is the client, and everything before it is untrusted. Text that
 * is not an address ends the walk at the last valid hop.
 */
function rightmostClient(chain: string, proxies: BlockList): ClientIp | undefined {
  let nearest: ClientIp | undefined
  for (let end = chain.length; end >= 0; ) {
    const comma = chain.lastIndexOf(',', end - 1)
    const hop = parseHop(chain.slice(comma + 1, end))
    if (hop === undefined) return nearest
    nearest = hop
    if (comma === -1 || !isWithin(proxies, hop)) return nearest
    end = comma
  }
  return nearest
}

export default fp(clientIp, { name: 'rhone-client-ip', fastify: '5.x' })
