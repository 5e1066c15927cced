import { BlockList, isIP, type Socket, SocketAddress } from 'node:net'
import type { FastifyInstance, FastifyRequest } from 'fastify'

export interface ClientIp {
  /** The address in its canonical text: IPv4-mapped IPv6 as IPv4, no zone. */
  readonly address: string
  /** The key that limits count by: the IPv4 address, or the /64 of an IPv6 one, since one client controls all of it. */
  readonly bucket: string
}

/** Placeholder for a peer on a Unix socket or already disconnected: a valid address that no real peer can have. */
const UNKNOWN: ClientIp = Object.freeze({ address: '0.0.0.0', bucket: '0.0.0.0' })

/** This machine. */
export const LOOPBACK: readonly string[] = ['127.0.0.0/8', '::1/128']

/** RFC 1918 and unique local addresses, including 6PN. Not loopback: fly-proxy never connects from there. */
const PRIVATE_NETWORKS: readonly string[] = ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', 'fc00::/7']

const kPeer = Symbol('rhone.peer')

/** Parses one IP address, with or without a zone; undefined for any other text. */
export function parseAddress(text: string): ClientIp | undefined {
  const family = isIP(text)
  if (family === 0) return undefined
  if (family === 4) return Object.freeze({ address: text, bucket: text })

  const [unzoned = ''] = text.split('%', 1)
  const address = canonicalIPv6(unzoned)
  const mapped = address.startsWith('::ffff:') ? address.slice('::ffff:'.length) : ''
  if (isIP(mapped) === 4) return Object.freeze({ address: mapped, bucket: mapped })
  return Object.freeze({ address, bucket: `${networkOf(address)}/64` })
}

/**
 * The peer address of a socket, parsed once per socket.
 * @param socket null for a request that Node's stream code has destroyed, which detaches its socket
 */
export function peerOf(socket: Socket | null): ClientIp {
  if (socket === null) return UNKNOWN
  const memo = socket as Socket & { [kPeer]?: ClientIp }
  memo[kPeer] ??= parseAddress(socket.remoteAddress ?? '') ?? UNKNOWN
  return memo[kPeer]
}

/** The key that limits count a request by: the bucket from the `client-ip` plugin if registered, else the peer's. */
export function addressKey(app: FastifyInstance): (request: FastifyRequest) => string {
  return app.hasRequestDecorator('clientIp')
    ? request => request.clientIp.bucket
    : request => peerOf(request.raw.socket).bucket
}

/** Parses one hop of `X-Forwarded-For`; some proxies append the port and then bracket IPv6. */
export function parseHop(text: string): ClientIp | undefined {
  const hop = text.trim()
  const bracketed = /^\[([^\]]*)\](?::\d{1,5})?$/.exec(hop)
  if (bracketed) return isIP(bracketed[1]!) === 6 ? parseAddress(bracketed[1]!) : undefined
  return parseAddress(hop.replace(/^([\d.]+):\d{1,5}$/, '$1'))
}

/** Networks of the proxies trusted to report client addresses. */
export function proxyNetworks(trustProxy: 'none' | 'fly' | readonly string[]): readonly string[] {
  if (trustProxy === 'none') return []
  return trustProxy === 'fly' ? PRIVATE_NETWORKS : trustProxy
}

/** @throws Error that quotes the entry that is neither an address nor a CIDR */
export function parseNetworks(entries: readonly string[]): BlockList {
  const networks = new BlockList()
  for (const entry of entries) addNetwork(networks, entry)
  return networks
}

export const isWithin = (networks: BlockList, { address }: ClientIp): boolean =>
  networks.check(address, address.includes(':') ? 'ipv6' : 'ipv4')

function addNetwork(networks: BlockList, entry: string): void {
  const [, address = '', prefix] = /^([^/%]+)(?:\/(\d{1,3}))?$/.exec(entry) ?? []
  const family = isIP(address)
  const widest = family === 4 ? 32 : 128
  if (family === 0 || Number(prefix ?? widest) > widest) {
    throw new Error(`"${entry}" is neither an IP address nor a CIDR such as 10.0.0.0/8 or fd00::/8`)
  }
  if (Number(prefix) === 0) throw new Error(`"${entry}" would trust every client; name the networks of your proxies`)
  networks.addSubnet(address, Number(prefix ?? widest), family === 4 ? 'ipv4' : 'ipv6')
}

const canonicalIPv6 = (text: string): string => new SocketAddress({ address: text, family: 'ipv6' }).address

/** The first four groups of a canonical address, in canonical form. */
function networkOf(address: string): string {
  const [head = '', tail] = address.split('::')
  const groups = head === '' ? [] : head.split(':')
  if (tail !== undefined && groups.length < 4) {
    const after = tail === '' ? [] : tail.split(':')
    // An embedded IPv4 tail, as in ::1.2.3.4, stands for two groups.
    const width = after.length + (tail.includes('.') ? 1 : 0)
    groups.push(...Array<string>(8 - groups.length - width).fill('0'), ...after)
  }
  return canonicalIPv6(`${groups.slice(0, 4).join(':')}::`)
}
