import { closeSync, openSync, readdirSync, readlinkSync, readSync } from 'node:fs'
import { hasCode } from '../../../../plugins/lib/errno.ts'

/** Bytes per read of a table: listening sockets come first, and the connected ones after them are not read. */
const CHUNK = 16_384
const LISTENS = '0A'
/** The addresses that accept connections to 127.0.0.1, in the kernel's notation. */
const REACHED = new Set([
  '00000000',
  '0100007F',
  '00000000000000000000000000000000',
  '0000000000000000FFFF00000100007F'
])

/**
 * Checks that the app itself is listening on its port: another program may have taken the drawn port before the app
 * did, or after the app closed it.
 *
 * Finding the listener takes milliseconds. Checking that a process of the app still has the same socket open takes
 * microseconds, and while it does, no other program can listen there.
 */
export class PortOwner {
  readonly #port: number
  readonly #pids: () => readonly number[]
  /** The paths of the open listening sockets, and the sockets they link to. */
  #holders: ReadonlyMap<string, string> = new Map()

  /** @param pids the processes of the app */
  constructor(port: number, pids: () => readonly number[]) {
    this.#port = port
    this.#pids = pids
  }

  /** False when another program is listening. True if none is, or if the system does not reveal it. */
  isOurs(): boolean {
    if (this.#isHeld()) return true
    const listeners = listenersOn(this.#port)
    if (listeners.length === 0) return true
    const open = this.#pids().map(socketsOf)
    if (open.includes(null)) return true
    const sockets = new Map(open.flatMap(found => found ?? []))
    const holders = listeners.flatMap(link => (sockets.has(link) ? [[sockets.get(link)!, link] as const] : []))
    if (holders.length < listeners.length) return false
    this.#holders = new Map(holders)
    return true
  }

  #isHeld(): boolean {
    if (this.#holders.size === 0) return false
    for (const [path, link] of this.#holders) if (linkOf(path) !== link) return false
    return true
  }
}

/** The sockets that accept connections to a port on 127.0.0.1, in the form of their links. */
function listenersOn(port: number): string[] {
  if (process.platform !== 'linux') return []
  return ['/proc/net/tcp', '/proc/net/tcp6'].flatMap(table => listenersIn(table, port))
}

function listenersIn(table: string, port: number): string[] {
  const hexPort = port.toString(16).toUpperCase().padStart(4, '0')
  const found: string[] = []
  for (const line of listeningLines(table)) {
    const [, local = '', , , , , , , , inode = ''] = line
    const [address = '', linePort] = local.split(':')
    if (linePort === hexPort && REACHED.has(address)) found.push(`socket:[${inode}]`)
  }
  return found
}

/** The fields of each line up to the first socket that is not listening. */
function* listeningLines(table: string): Generator<string[]> {
  const file = openTable(table)
  if (file === null) return
  try {
    const chunk = Buffer.allocUnsafe(CHUNK)
    let rest = ''
    let isHeader = true
    for (let size = readSync(file, chunk); size > 0; size = readSync(file, chunk)) {
      const lines = (rest + chunk.toString('latin1', 0, size)).split('\n')
      rest = lines.pop()!
      for (const line of lines) {
        const fields = line.trim().split(/\s+/)
        if (!isHeader && fields[3] !== LISTENS) return
        if (!isHeader) yield fields
        isHeader = false
      }
    }
  } finally {
    closeSync(file)
  }
}

/** Null when the protocol is not available. */
function openTable(path: string): number | null {
  try {
    return openSync(path, 'r')
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'EACCES')) return null
    throw error
  }
}

/** A process's open sockets and their paths; null when access is denied. */
function socketsOf(pid: number): [link: string, path: string][] | null {
  const directory = `/proc/${pid}/fd`
  try {
    return readdirSync(directory).flatMap(name => {
      const path = `${directory}/${name}`
      const link = linkOf(path)
      return link.startsWith('socket:') ? [[link, path] as [string, string]] : []
    })
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ESRCH')) return []
    if (hasCode(error, 'EACCES', 'EPERM')) return null
    throw error
  }
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path)
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ESRCH', 'EACCES', 'EPERM')) return ''
    throw error
  }
}
