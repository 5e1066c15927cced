import { closeSync, openSync, readdirSync, readlinkSync, readSync } from 'node:fs'
import { hasCode } from '../../../../plugins/lib/errno.ts'

/** Bytes of a table that are read at once: what listens stands first, and what is connected after it is not read. */
const CHUNK = 16_384
const LISTENS = '0A'
/** As the kernel writes the addresses at which connections to 127.0.0.1 arrive. */
const REACHED = new Set([
  '00000000',
  '0100007F',
  '00000000000000000000000000000000',
  '0000000000000000FFFF00000100007F'
])

/**
 * Tells whether it is still the app that listens on a port: one that was drawn for it may have been taken by somebody else
 * before the app came to it, or after the app has closed it.
 *
 * To look for who listens takes milliseconds. To see that a process of the app still has the same socket open takes
 * microseconds, and as long as it has, nobody else can listen there.
 */
export class PortOwner {
  readonly #port: number
  readonly #pids: () => readonly number[]
  /** Where the listening sockets are open, and what stands there. */
  #holders: ReadonlyMap<string, string> = new Map()

  /** @param pids the processes of the app */
  constructor(port: number, pids: () => readonly number[]) {
    this.#port = port
    this.#pids = pids
  }

  /** False when somebody else listens. True, too, when nobody does, or the system does not tell. */
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

/** The sockets that take connections to a port of 127.0.0.1, as the links to them are written. */
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

/** The fields of each line of a table up to the first that does not listen. */
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

/** Null where there is no such protocol. */
function openTable(path: string): number | null {
  try {
    return openSync(path, 'r')
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'EACCES')) return null
    throw error
  }
}

/** The sockets that a process has open, and where; null when that is not ours to see. */
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
