import { lookup as lookUp } from 'node:dns/promises'
import { BlockList, isIP } from 'node:net'
import { parseAddress } from '../../plugins/lib/address.ts'

/** Resolves host names. */
export type Lookup = (hostname: string) => Promise<readonly { readonly address: string }[]>

/** IPv4 networks that are not, or not exclusively, public hosts (the IANA special-purpose registry). */
const SPECIAL_V4 = [
  '0.0.0.0/8', // this host
  '10.0.0.0/8', // private
  '100.64.0.0/10', // shared by customers of one carrier
  '127.0.0.0/8', // loopback
  '169.254.0.0/16', // link-local, including cloud metadata
  '172.16.0.0/12', // private
  '192.0.0.0/24', // protocols
  '192.0.2.0/24', // documentation
  '192.88.99.0/24', // relays of 6to4
  '192.168.0.0/16', // private
  '198.18.0.0/15', // benchmarks
  '198.51.100.0/24', // documentation
  '203.0.113.0/24', // documentation
  '224.0.0.0/4', // multicast
  '240.0.0.0/4' // reserved, broadcast
]

/** Exceptions within IPv6 global unicast; every other special network lies outside of it. */
const SPECIAL_V6 = [
  '2001::/23', // protocols, including Teredo
  '2001:db8::/32', // documentation
  '3fff::/20' // documentation
]

const special = blockList(SPECIAL_V4, 'ipv4')
const globalUnicast = blockList(['2000::/3'], 'ipv6')
const specialUnicast = blockList(SPECIAL_V6, 'ipv6')

/**
 * Resolves a host name given by a user. Connect to one of these addresses and no other: a second lookup could return
 * something else.
 *
 * @throws Error when any address is not public, so that users cannot reach through us what only we can reach
 */
export async function requirePublicHost(hostname: string, lookup: Lookup = everyAddress): Promise<readonly string[]> {
  const host = hostname.replace(/^\[(.*)\]$/, '$1')
  const addresses = isIP(host) === 0 ? await resolve(host, lookup) : [host]
  if (addresses.length === 0) throw new Error(`The host ${host} has no address`)
  if (!addresses.every(isPublic)) throw new Error(`The host ${host} is not on the public Internet`)
  return addresses
}

/** Whether an address belongs to a public host on the Internet. */
export function isPublic(text: string): boolean {
  const address = parseAddress(text)?.address
  if (address === undefined) return false
  if (isIP(address) === 4) return !special.check(address, 'ipv4')
  const inner = carriedV4(address)
  if (inner !== undefined) return !special.check(inner, 'ipv4')
  return globalUnicast.check(address, 'ipv6') && !specialUnicast.check(address, 'ipv6')
}

async function resolve(host: string, lookup: Lookup): Promise<string[]> {
  try {
    return (await lookup(host)).map(({ address }) => address)
  } catch (cause) {
    throw new Error(`The host ${host} was not found`, { cause })
  }
}

const everyAddress: Lookup = hostname => lookUp(hostname, { all: true, verbatim: true })

/** The IPv4 address embedded in an IPv6 address of a gateway: NAT64 (64:ff9b::/96) or 6to4 (2002::/16). */
function carriedV4(address: string): string | undefined {
  const groups = groupsOf(address)
  const [a, b, c] = groups
  if (a === 0x2002) return dotted(b!, c!)
  if (a === 0x64 && b === 0xff9b && groups.slice(2, 6).every(group => group === 0))
    return dotted(groups[6]!, groups[7]!)
}

/** The eight numbers of an IPv6 address in any notation. */
function groupsOf(address: string): number[] {
  const hexadecimal = address.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_, ...bytes: string[]) => {
    const [a, b, c, d] = bytes.map(Number)
    return `${((a! << 8) | b!).toString(16)}:${((c! << 8) | d!).toString(16)}`
  })
  const [head = [], tail = []] = hexadecimal.split('::').map(half => (half === '' ? [] : half.split(':')))
  const middle = Array<string>(8 - head.length - tail.length).fill('0')
  return [...head, ...middle, ...tail].map(group => Number.parseInt(group, 16))
}

const dotted = (high: number, low: number) => [high >> 8, high & 255, low >> 8, low & 255].join('.')

function blockList(networks: readonly string[], family: 'ipv4' | 'ipv6'): BlockList {
  const list = new BlockList()
  for (const network of networks) {
    const [address = '', prefix] = network.split('/')
    list.addSubnet(address, Number(prefix), family)
  }
  return list
}
