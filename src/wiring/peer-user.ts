import { readFileSync } from 'node:fs'
import { isIPv4, type Socket } from 'node:net'
import { hasCode } from '../../plugins/lib/errno.ts'

const kUser = Symbol('rhone.peer-user')

/**
 * The user on this machine that holds the other end of a connection. Null for remote connections, and on systems that
 * do not tell. A local peer that has already closed its end gives 'unknown': the kernel forgets its user.
 */
export type PeerUser = number | 'unknown' | null

/**
 * Looked up once per connection, in the kernel's connection table. That takes milliseconds with thousands of
 * connections, so call it only where the answer matters.
 */
export function peerUser(socket: Socket): PeerUser {
  const memo = socket as Socket & { [kUser]?: PeerUser }
  if (memo[kUser] === undefined) memo[kUser] = findPeerUser(socket)
  return memo[kUser]
}

function findPeerUser({ remoteAddress, remotePort, localAddress, localPort }: Socket): PeerUser {
  if (process.platform !== 'linux' || !remoteAddress || !remotePort || !localAddress || !localPort) return null
  const peer = endpoints(remoteAddress, remotePort)
  const own = endpoints(localAddress, localPort)
  let showsOwn = false
  for (const table of ['/proc/net/tcp', '/proc/net/tcp6']) {
    for (const line of linesOf(table)) {
      const [, local = '', remote = '', , , , , uid, , inode] = line.trim().split(/\s+/)
      if (own.has(local) && peer.has(remote)) showsOwn = true
      if (peer.has(local) && own.has(remote)) return inode === '0' ? 'unknown' : Number(uid)
    }
  }
  // A table without our own end would not contain the other one either.
  return showsOwn && isLoopback(remoteAddress) ? 'unknown' : null
}

const isLoopback = (address: string) => address === '::1' || /^(::ffff:)?127\./.test(address)

/** An address and port in the kernel's notations: an IPv4 address may also be in the IPv6 table. */
function endpoints(address: string, port: number): ReadonlySet<string> {
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, '0')}`
  const plain = address.replace(/^::ffff:(?=\d+\.)/, '')
  if (!isIPv4(plain)) return new Set([words(bytesOfIPv6(plain)) + suffix])
  const bytes = plain.split('.').map(Number)
  return new Set([words(bytes) + suffix, words([...Array(10).fill(0), 255, 255, ...bytes]) + suffix])
}

/** The kernel prints each group of four bytes as a number in the machine's byte order. */
function words(bytes: readonly number[]): string {
  const data = Buffer.from(bytes)
  const isLittle = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1
  return (isLittle ? data.swap32() : data).toString('hex').toUpperCase()
}

function bytesOfIPv6(address: string): number[] {
  const [head = '', tail] = address.split('%', 1)[0]!.split('::')
  const groups = (text: string | undefined) => (text ? text.split(':').map(group => Number.parseInt(group, 16)) : [])
  const before = groups(head)
  const after = groups(tail)
  const between = tail === undefined ? [] : Array<number>(8 - before.length - after.length).fill(0)
  return [...before, ...between, ...after].flatMap(group => [group >> 8, group & 255])
}

function linesOf(table: string): string[] {
  try {
    return readFileSync(table, 'latin1').split('\n')
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'EACCES')) return []
    throw error
  }
}
